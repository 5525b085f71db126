//! Training layer by layer: what a step needs beside the model and the optimizer's state is the gradient of one matrix.
//!
//! The forward pass keeps one hidden state per layer. The backward pass runs a layer again, from the last to the first,
//! and every matrix is updated as soon as its gradient is known, which is dropped then (gradient release, as in LOMO, Lv et
//! al. 2023).

mod gradients;
mod norm;
mod offload;
mod run;
mod sink;
pub(super) mod states;
mod step;
mod update;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::{CompactFormat, Masters, Moments};

pub(super) use gradients::walk;
pub(super) use offload::Offload;
pub(super) use run::LayerWiseTraining;
pub use sink::GradientSink;
use sink::ModulePath;
pub(super) use states::{Rules, States};
pub(super) use step::LayerWiseOptimizer;

/// How a stage trains layer by layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LayerWise {
    /// What gradients are clipped by.
    pub clipping: Clipping,
    /// What matrices are kept in. Vectors, that is norms, biases and sinks, are kept in float32, and so are their moments.
    pub masters: Masters,
    /// What the moments of matrices are kept in.
    pub moments: Moments,
    /// Keep moments in files of the stage's directory, but for those of the matrix that is updated.
    pub offload: bool,
}

impl LayerWise {
    /// How matrices are kept.
    pub fn format(self) -> CompactFormat {
        CompactFormat {
            masters: self.masters,
            moments: self.moments,
        }
    }

    /// How a parameter is kept.
    pub(crate) fn format_of(self, path: &str, n_axes: usize) -> CompactFormat {
        match is_matrix(path, n_axes) {
            true => self.format(),
            false => CompactFormat::F32,
        }
    }
}

/// The norm that [`TrainConfig::max_grad_norm`](super::TrainConfig::max_grad_norm) limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clipping {
    /// That of all gradients of this step. A backward pass of its own computes it before the one that updates.
    #[default]
    Exact,
    /// That of the step before; the first step computes its own.
    Previous,
    /// That of each parameter by itself.
    Parameter,
}

/// A module whose matrices have the type that the model computes with.
pub(super) fn cast_matrices<M: Module>(module: M, settings: LayerWise) -> M {
    module.map(&mut Cast {
        dtype: settings.format().weight_dtype(),
        path: ModulePath::default(),
    })
}

struct Cast {
    dtype: DType,
    path: ModulePath,
}

impl ModuleMapper for Cast {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !is_matrix(&self.path.text(), D) {
            return param;
        }
        let (id, weight, mapper) = param.consume();
        let tracked = weight.is_require_grad();
        let weight = match weight.dtype() == self.dtype {
            true => weight,
            false => weight.detach().cast(self.dtype).set_require_grad(tracked),
        };
        Param::from_mapped_value(id, weight, mapper)
    }
}

/// The float parameters of a module, by module path, with the format and the number of weights of each.
pub(super) fn parameters<M: Module>(
    module: &M,
    settings: LayerWise,
) -> Vec<(String, CompactFormat, usize)> {
    struct Parameters(ModulePath, LayerWise, Vec<(String, CompactFormat, usize)>);

    impl ModuleVisitor for Parameters {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.0.enter(name);
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.0.exit();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let path = self.0.text();
            let format = self.1.format_of(&path, D);
            let n_weights = param.lazy_shape().num_elements();
            self.2.push((path, format, n_weights));
        }
    }

    let mut parameters = Parameters(ModulePath::default(), settings, Vec::new());
    module.visit(&mut parameters);
    parameters.2
}

/// Whether a parameter is a matrix, by its module path and its number of axes: biases of experts have two, too.
pub(crate) fn is_matrix(path: &str, n_axes: usize) -> bool {
    n_axes >= 2 && !path.ends_with("bias")
}
