//! Expert matrices fake-quantized once for all micro-batches of a step.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn_fp4::{GradientRule, WeightQuantizer};
use burn_gpt_oss::GptOss;

/// The model with what its straight-through quantizers give in the place of the expert matrices behind
/// them, under the same ids: the gradient by such a value is that by its matrix.
pub(super) fn quantize_experts(mut model: GptOss) -> GptOss {
    for (_, weight) in model.expert_weights_mut() {
        match weight.dense_mut() {
            Some(matrices) if passes_gradients_on(matrices) => {
                *matrices = matrices.clone().materialize();
            }
            _ => {}
        }
    }
    model
}

fn passes_gradients_on(matrices: &Param<Tensor<3>>) -> bool {
    matrices
        .reparameterization::<WeightQuantizer>()
        .is_some_and(|quantizer| {
            quantizer.gradient() == GradientRule::StraightThrough && !quantizer.learns_scales()
        })
}
