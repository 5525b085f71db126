use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device, FloatDType};
use serde::{Deserialize, Serialize};

/// The element types of a run: which floats are kept, computed with and stored.
///
/// Products, norms, softmax and loss sum in float32, whatever these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ElementTypes {
    /// The dense tensors of checkpoints that are written. They are BF16 in every
    /// [`CheckpointForm`](crate::CheckpointForm).
    pub storage: FloatDType,
    /// Activations, and the weights that products see.
    pub compute: FloatDType,
    /// The weights that an optimizer updates, their gradients and its moments.
    pub master: FloatDType,
}

impl ElementTypes {
    /// Float32 that is updated and computed with.
    pub const fn training() -> Self {
        Self {
            storage: FloatDType::BF16,
            compute: FloatDType::F32,
            master: FloatDType::F32,
        }
    }

    /// For a model that is only run: BF16 where the device computes with it, else float32. CPUs store
    /// BF16, but compute with float32.
    pub fn generation(device: &Device) -> Self {
        let compute = match device.supports_dtype(FloatDType::BF16) && !is_flex(device) {
            true => FloatDType::BF16,
            false => FloatDType::F32,
        };
        Self {
            storage: FloatDType::BF16,
            compute,
            master: compute,
        }
    }

    /// Bytes of an activation.
    pub fn compute_bytes(self) -> u64 {
        DType::from(self.compute).size() as u64
    }

    /// Bytes of a weight that is updated, of its gradient, and of each moment.
    pub fn master_bytes(self) -> u64 {
        DType::from(self.master).size() as u64
    }
}

fn is_flex(device: &Device) -> bool {
    match device.as_dispatch() {
        #[cfg(feature = "flex")]
        DispatchDevice::Flex(_) => true,
        #[allow(unreachable_patterns)] // Flex alone is built.
        _ => false,
    }
}
