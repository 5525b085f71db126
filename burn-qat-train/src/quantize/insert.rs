use burn::module::{Module, Param, Reparameterizer};
use burn::tensor::Tensor;
use burn_fp4::{Fp4Error, Fp4Scheme, GlobalRefresh, WeightQuantizer};

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

/// Puts fake quantizers on the weights a policy chooses and lists them. Global scales, in NVFP4,
/// follow the weights.
///
/// # Errors
/// A policy that matches no weight or has, unless it is a preset, a rule that matches none; or a weight whose contraction axis is no multiple of the block.
pub fn insert_quantizers<M: Module>(
    model: M,
    policy: &QuantPolicy,
) -> Result<(M, Vec<QuantizedWeight>), QatError> {
    insert_quantizers_with(model, policy, GlobalRefresh::Dynamic)
}

/// [`insert_quantizers`] with a choice of how often global scales are computed.
///
/// [`StageRun::train`](crate::StageRun::train) refreshes kept scales every
/// [`global_refresh_steps`](crate::TrainConfig::global_refresh_steps).
///
/// # Errors
/// Those of [`insert_quantizers`], and a weight that cannot be read from its device.
pub fn insert_quantizers_with<M: Module>(
    model: M,
    policy: &QuantPolicy,
    global_refresh: GlobalRefresh,
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
        global_refresh,
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
    global_refresh: GlobalRefresh,
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
        match self.global_refresh {
            GlobalRefresh::Dynamic => Ok(WeightQuantizer::new(scheme)),
            GlobalRefresh::Frozen | GlobalRefresh::Every(_) => {
                let quantizer = WeightQuantizer::frozen(scheme, param.base());
                quantizer.map_err(|error: Fp4Error| error.to_string())
            }
        }
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
