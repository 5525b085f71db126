use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device, FloatDType};
use serde::{Deserialize, Serialize};

/// The element types of a run: of written checkpoints, of computation and of master weights.
///
/// Products, norms, softmax and loss accumulate in float32, whatever these types are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ElementTypes {
    /// Type of the dense tensors in checkpoints that are written: BF16 in every
    /// [`CheckpointForm`](crate::CheckpointForm).
    pub storage: FloatDType,
    /// Type of activations, and of weights as matrix products read them.
    pub compute: FloatDType,
    /// Type of the master weights that an optimizer updates, of their gradients and of its moments.
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
