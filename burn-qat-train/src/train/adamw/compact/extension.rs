//! The step as one operation of a backend.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType, backend_extension};

#[cfg(all(feature = "_cube", feature = "fusion"))]
use burn::backend::fusion::custom::TensorSpec;

use super::CompactStep;

/// What an optimizer keeps of a parameter on a backend, with the weight.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "_cube", feature = "fusion")))]
pub struct CompactPrimitive<B: Backend> {
    /// What the model computes with.
    pub weight: FloatTensor<B>,
    /// The bits that it lacks.
    pub remainder: IntTensor<B>,
    /// Codes of the first moment.
    pub codes_1: IntTensor<B>,
    /// Their scales.
    pub scales_1: FloatTensor<B>,
    /// Codes of the second moment.
    pub codes_2: IntTensor<B>,
    /// Their scales.
    pub scales_2: FloatTensor<B>,
}

/// Backends with a step of AdamW on weights and moments of few bytes.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "_cube"),
    Fusion: cfg(all(feature = "_cube", feature = "fusion"))
)]
pub trait CompactAdamWBackend: Backend {
    /// One step of all elements, with a float32 gradient; all tensors have one axis.
    #[fusion(meta = updated)]
    fn compact_adamw(
        grad: FloatTensor<Self>,
        #[extension_type] state: CompactPrimitive<Self>,
        step: CompactStep,
    ) -> CompactPrimitive<Self>;
}

#[cfg(all(feature = "_cube", feature = "fusion"))]
fn updated(
    _grad: &TensorSpec,
    state: &CompactPrimitiveMetadata,
    _step: &CompactStep,
) -> CompactPrimitiveMetadata {
    state.clone()
}
