use burn::module::{Module, Param, Reparameterization, Reparameterizer};
use burn::tensor::Tensor;
use burn_fp4::{Fp4Scheme, fake_quantize_along};

use super::QuantPolicy;
use super::policy::CompiledPolicy;
use crate::QatError;

/// The fake quantizer of one weight: reading the parameter gives the quantized value, gradients pass
/// straight through to the master weight.
///
/// Burn allows one reparameterization per parameter, so adapters will join this struct.
#[derive(Module, Debug)]
pub struct WeightQuantizer {
    #[module(skip)]
    scheme: Fp4Scheme,
}

impl WeightQuantizer {
    /// The scheme.
    pub fn scheme(&self) -> Fp4Scheme {
        self.scheme
    }
}

impl Reparameterization for WeightQuantizer {
    const NAME: &'static str = "weight_quantizer";

    /// Blocks run along the contraction axis, the one before the last in `[.., in, out]` weights.
    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        fake_quantize_along(base, D - 2, &self.scheme)
    }
}

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

/// Puts fake quantizers on the weights a policy chooses and lists them.
///
/// # Errors
/// A policy that matches no weight, a weight whose contraction axis is no multiple of the block, or
/// a weight that has a quantizer already.
pub fn insert_quantizers<M: Module>(
    model: M,
    policy: &QuantPolicy,
) -> Result<(M, Vec<QuantizedWeight>), QatError> {
    let mut insertion = Insertion {
        policy: policy.compile()?,
        name: policy.name.clone(),
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
    inserted: Vec<QuantizedWeight>,
    error: Option<QatError>,
}

impl Insertion {
    fn check(&self, path: &str, shape: &[usize], scheme: Fp4Scheme) -> Result<(), String> {
        let len = shape[shape.len() - 2];
        if !len.is_multiple_of(scheme.block_size()) {
            return Err(format!(
                "`{path}` has {len} inputs, no multiple of the {} elements of a block; exclude it",
                scheme.block_size()
            ));
        }
        Ok(())
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
        let shape = param.lazy_shape().to_vec();
        if let Err(message) = self.check(path, &shape, scheme) {
            let policy = self.name.clone();
            self.error
                .get_or_insert(QatError::Policy { policy, message });
            return (param, None);
        }
        self.inserted.push(QuantizedWeight {
            path: path.into(),
            shape,
            scheme,
        });
        (param, Some(WeightQuantizer { scheme }))
    }
}
