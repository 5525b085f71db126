use burn::module::{Module, Param, Reparameterizer};
use burn::tensor::Tensor;
use burn_fp4::{Fp4Error, Fp4Scheme, GlobalRefresh, GradientRule, WeightQuantizer};

use super::QuantPolicy;
use super::policy::{CompiledPolicy, ParameterPaths};
use crate::adapt::is_factor;
use crate::error::QatError;

/// A weight that a policy quantizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuantizedWeight {
    /// Module path of the parameter.
    pub path: String,
    /// Its shape, `[.., in, out]`.
    pub shape: Vec<usize>,
    /// The scheme.
    pub scheme: Fp4Scheme,
}

/// How quantizers train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuantizerOptions {
    /// How often global scales, in NVFP4, are computed. [`StageRun::train`](crate::StageRun::train) refreshes kept ones
    /// every [`global_refresh_steps`](crate::TrainConfig::global_refresh_steps).
    pub global_refresh: GlobalRefresh,
    /// How gradients pass to the weights.
    pub gradient: GradientRule,
    /// Whether every block scale has a parameter of its own that trains (LSQ). Gradients of weights are zero where they
    /// saturate then, whatever `gradient` is.
    pub learned_scales: bool,
}

impl From<GlobalRefresh> for QuantizerOptions {
    fn from(global_refresh: GlobalRefresh) -> Self {
        Self {
            global_refresh,
            ..Self::default()
        }
    }
}

/// Puts fake quantizers on the weights a policy chooses and lists them. Global scales, in NVFP4,
/// follow the weights, and gradients pass straight through.
///
/// # Errors
/// A policy that matches no weight or has, unless it is a preset, a rule that matches none; or a weight whose contraction axis is no multiple of the block.
pub fn insert_quantizers<M: Module>(
    model: M,
    policy: &QuantPolicy,
) -> Result<(M, Vec<QuantizedWeight>), QatError> {
    insert_quantizers_with(model, policy, QuantizerOptions::default())
}

/// [`insert_quantizers`] with choices.
///
/// # Errors
/// Those of [`insert_quantizers`], and a weight that cannot be read from its device.
pub fn insert_quantizers_with<M: Module>(
    model: M,
    policy: &QuantPolicy,
    options: impl Into<QuantizerOptions>,
) -> Result<(M, Vec<QuantizedWeight>), QatError> {
    let paths = ParameterPaths::of(&model);
    policy.check_rules(&paths)?;
    if let Some(path) = paths.0.iter().find(|path| is_factor(path)) {
        return Err(QatError::Policy {
            policy: policy.name.clone(),
            message: format!(
                "`{path}` is a factor of an adapter; use `round_adapters` for its sum"
            ),
        });
    }
    let mut insertion = Insertion {
        policy: policy.compile()?,
        name: policy.name.clone(),
        options: options.into(),
        inserted: Vec::new(),
        error: None,
    };
    let model = model.apply_reparameterization(&mut insertion);
    if let Some(error) = insertion.error {
        return Err(error);
    }
    if insertion.inserted.is_empty() {
        return Err(QatError::Policy {
            policy: policy.name.clone(),
            message: "matches no weight of this model; patterns are matched against module paths \
                      such as `layers.0.mlp.experts.gate_up_proj`"
                .into(),
        });
    }
    Ok((model, insertion.inserted))
}

struct Insertion {
    policy: CompiledPolicy,
    name: String,
    options: QuantizerOptions,
    inserted: Vec<QuantizedWeight>,
    error: Option<QatError>,
}

impl Insertion {
    fn quantizer<const D: usize>(
        &self,
        param: &Param<Tensor<D>>,
        scheme: Fp4Scheme,
    ) -> Result<WeightQuantizer, String> {
        let shape = param.lazy_shape();
        if !shape[D - 2].is_multiple_of(scheme.block_size()) {
            return Err(format!(
                "has {} inputs, no multiple of the {} elements of a block; exclude it",
                shape[D - 2],
                scheme.block_size()
            ));
        }
        let quantizer = match self.options.global_refresh {
            GlobalRefresh::Dynamic => Ok(WeightQuantizer::new(scheme)),
            GlobalRefresh::Frozen | GlobalRefresh::Every(_) => {
                WeightQuantizer::frozen(scheme, param.base())
            }
        };
        let quantizer = quantizer.map_err(|error: Fp4Error| error.to_string())?;
        let quantizer = quantizer.with_gradient(self.options.gradient);
        Ok(match self.options.learned_scales {
            true => quantizer.with_learned_scales(param.base()),
            false => quantizer,
        })
    }
}

impl Reparameterizer for &mut Insertion {
    type Reparam = WeightQuantizer;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<WeightQuantizer>) {
        // Vectors (norms, biases, sinks) have no contraction axis.
        let Some(scheme) = self.policy.scheme(path).filter(|_| D >= 2) else {
            return (param, None);
        };
        match self.quantizer(&param, scheme) {
            Ok(quantizer) => {
                self.inserted.push(QuantizedWeight {
                    path: path.into(),
                    shape: param.lazy_shape().to_vec(),
                    scheme,
                });
                (param, Some(quantizer))
            }
            Err(message) => {
                self.error.get_or_insert(QatError::Policy {
                    policy: self.name.clone(),
                    message: format!("`{path}` {message}"),
                });
                (param, None)
            }
        }
    }
}
