use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};
use burn_gpt_oss::ops::ordered_sum_of_squares;

/// Scales all gradients so that their common L2 norm is at most `max_norm`, without a host read.
/// `torch.nn.utils.clip_grad_norm_`; Burn's own clipping is per parameter.
pub fn clip_global_norm<M: Module>(
    model: &M,
    grads: GradientsParams,
    max_norm: f64,
) -> GradientsParams {
    match global_norm(model, &grads) {
        Some(norm) => scaled(model, grads, norm, max_norm),
        None => grads,
    }
}

/// The L2 norm of all gradients together; none without gradients.
pub(super) fn global_norm<M: Module>(model: &M, grads: &GradientsParams) -> Option<Tensor<1>> {
    let mut norm = SquaredNorm { grads, sum: None };
    model.visit(&mut norm);
    norm.sum.map(Tensor::sqrt)
}

/// The gradients scaled from a norm to at most `max_norm`.
pub(super) fn scaled<M: Module>(
    model: &M,
    grads: GradientsParams,
    norm: Tensor<1>,
    max_norm: f64,
) -> GradientsParams {
    let coefficient = (norm + 1e-6).recip().mul_scalar(max_norm).clamp_max(1.0);
    let mut scale = Scale { grads, coefficient };
    model.visit(&mut scale);
    scale.grads
}

struct SquaredNorm<'a> {
    grads: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for SquaredNorm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            let square = ordered_sum_of_squares(grad.cast(DType::F32));
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }
}

struct Scale {
    grads: GradientsParams,
    coefficient: Tensor<1>,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            let coefficient = self.coefficient.clone().cast(grad.dtype()).reshape([1; D]);
            self.grads.register::<D>(param.id, grad * coefficient);
        }
    }
}
