//! The norm of gradients that never exist together.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};
use burn_gpt_oss::ops::ordered_sum_of_squares;

use super::sink::{EachGradient, ModulePath};

/// Squares of gradients, summed per parameter.
#[derive(Default)]
pub(super) struct Squares(BTreeMap<String, f32>);

impl Squares {
    pub fn add(&mut self, path: String, grad: Tensor<1>) {
        let square = ordered_sum_of_squares(grad.cast(DType::F32));
        // A device that cannot be read is reported where the loss is.
        let square = square.try_into_scalar::<f32>().unwrap_or(f32::NAN);
        self.0.insert(path, square);
    }

    /// Adds those of all gradients.
    pub fn add_all<M: Module>(&mut self, module: &M, grads: &GradientsParams) {
        module.visit(&mut EachGradient {
            grads,
            path: ModulePath::default(),
            call: |path, grad| self.add(path, grad),
        });
    }

    pub fn of(&self, path: &str) -> Option<f32> {
        self.0.get(path).copied()
    }

    /// The first parameter whose gradient is not finite.
    pub fn first_non_finite(&self) -> Option<&str> {
        let mut squares = self.0.iter();
        let found = squares.find(|(_, square)| !square.is_finite());
        found.map(|(path, _)| path.as_str())
    }

    /// The L2 norm of all gradients together, added up in the order of the module.
    pub fn norm<M: Module>(&self, module: &M) -> f32 {
        let mut sum = Sum {
            squares: self,
            path: ModulePath::default(),
            sum: None,
        };
        module.visit(&mut sum);
        sum.sum.unwrap_or_default().sqrt()
    }
}

struct Sum<'a> {
    squares: &'a Squares,
    path: ModulePath,
    sum: Option<f32>,
}

impl ModuleVisitor for Sum<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
        if let Some(square) = self.squares.of(&self.path.text()) {
            self.sum = Some(self.sum.map_or(square, |sum| sum + square));
        }
    }
}

/// What gradients of a norm are multiplied with so that it is at most `max_norm`: `torch.nn.utils.clip_grad_norm_`.
pub(super) fn coefficient(norm: f32, max_norm: Option<f64>) -> f32 {
    max_norm.map_or(1.0, |max_norm| {
        ((1.0 / (norm + 1e-6)) * max_norm as f32).min(1.0)
    })
}
