use std::collections::BTreeMap;

use burn::module::{Module, Param, ParamGroup, Reparameterization, Reparameterizer};
use burn::tensor::Tensor;

use super::selection::{Chosen, at_weight, select};
use super::{GlobalRefresh, PackedModule, WeightQuantizer, packing};
use crate::error::Fp4Error;
use crate::ops::GradientRule;
use crate::scheme::Fp4Scheme;

/// Which weights of a module become FP4, and how.
///
/// A Burn [`ParamGroup`] chooses the weights: its float parameters with two or more axes, `[.., in, out]`.
/// Blocks run along `in`. Without a group, all such parameters are chosen. That includes embeddings, whose
/// first axis is the vocabulary.
///
/// ```
/// use burn::module::ParamGroup;
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_fp4::{Fp4Scheme, WeightQuantization};
///
/// let device = Device::flex();
/// let linear = LinearConfig::new(64, 8).init(&device);
/// let nvfp4 = WeightQuantization::new(Fp4Scheme::nvfp4()).with_group(ParamGroup::from_path("weight"));
///
/// // Quantization-aware training: optimize this module as any other.
/// let trained = nvfp4.fake_quantize(linear)?;
/// // Its quantized form; saved with `save_file`, the weight takes 4.5 bits per element.
/// let packed = nvfp4.quantize(trained)?;
/// let y = packed.forward(Tensor::<2>::ones([1, 64], &device));
/// # assert_eq!(y.dims(), [1, 8]);
/// # Ok::<(), burn_fp4::Fp4Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WeightQuantization {
    group: ParamGroup,
    scheme: Fp4Scheme,
    global_refresh: GlobalRefresh,
    gradient: GradientRule,
}

impl WeightQuantization {
    /// All weights in one scheme; global scales, where the scheme has them, follow the weights.
    pub fn new(scheme: Fp4Scheme) -> Self {
        Self {
            group: ParamGroup::all(),
            scheme,
            global_refresh: GlobalRefresh::Dynamic,
            gradient: GradientRule::StraightThrough,
        }
    }

    /// Chooses the weights by path, regular expression or id.
    pub fn with_group(mut self, group: ParamGroup) -> Self {
        self.group = group;
        self
    }

    /// Sets how often global scales are computed in training.
    pub fn with_global_refresh(mut self, global_refresh: GlobalRefresh) -> Self {
        self.global_refresh = global_refresh;
        self
    }

    /// Sets how gradients pass the quantizers.
    pub fn with_gradient(mut self, gradient: GradientRule) -> Self {
        self.gradient = gradient;
        self
    }

    /// How often global scales are computed in training.
    pub fn global_refresh(&self) -> GlobalRefresh {
        self.global_refresh
    }

    /// Attaches a [`WeightQuantizer`] to every chosen weight: the module computes with quantized
    /// values, and gradients go to the weights behind them.
    ///
    /// # Errors
    ///
    /// If no weight is chosen, or one has an `in` axis that is no multiple of the block size, a dtype
    /// other than `f32`, `bf16` and `f16`, or a reparameterization already.
    pub fn fake_quantize<M: Module>(&self, module: M) -> Result<M, Fp4Error> {
        let chosen = select(&module, &self.group, self.scheme)?;
        check_bare(&chosen, |_| false)?;
        let mut insertion = Insertion {
            chosen: &chosen,
            config: self,
            error: None,
        };
        let module = module.apply_reparameterization(&mut insertion);
        insertion.error.map_or(Ok(module), Err)
    }

    /// Quantizes every chosen weight, after training or without any.
    ///
    /// A weight with a [`WeightQuantizer`] gets exactly the values that the quantizer gives, with the global
    /// scale that it keeps. If any chosen weight has a quantizer, the whole module is materialized: adapters,
    /// and the quantizers of weights that are not chosen, are merged into dense weights.
    ///
    /// # Errors
    ///
    /// Those of [`fake_quantize`](Self::fake_quantize), quantizers aside; if a weight has a value
    /// that is not finite; and if one was trained with another scheme.
    pub fn quantize<M: Module>(&self, module: M) -> Result<PackedModule<M>, Fp4Error> {
        let chosen = select(&module, &self.group, self.scheme)?;
        check_bare(&chosen, |name| name == WeightQuantizer::NAME)?;
        packing::pack(module, &chosen, self.scheme)
    }
}

/// Fails at a weight with a reparameterization that is not `allowed`.
fn check_bare(
    chosen: &BTreeMap<String, Chosen>,
    allowed: impl Fn(&str) -> bool,
) -> Result<(), Fp4Error> {
    for (path, weight) in chosen {
        if let Some(name) = weight
            .reparameterization
            .as_ref()
            .filter(|name| !allowed(name))
        {
            return Err(Fp4Error::Reparameterized {
                path: path.clone(),
                name: name.clone(),
            });
        }
    }
    Ok(())
}

/// Attaches quantizers.
struct Insertion<'a> {
    chosen: &'a BTreeMap<String, Chosen>,
    config: &'a WeightQuantization,
    error: Option<Fp4Error>,
}

impl Reparameterizer for &mut Insertion<'_> {
    type Reparam = WeightQuantizer;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<WeightQuantizer>) {
        if !self.chosen.contains_key(path) {
            return (param, None);
        }
        let WeightQuantization {
            scheme, gradient, ..
        } = *self.config;
        let quantizer = if self.config.global_refresh.keeps() {
            WeightQuantizer::frozen(scheme, param.base())
        } else {
            Ok(WeightQuantizer::new(scheme))
        };
        match quantizer {
            Ok(quantizer) => (param, Some(quantizer.with_gradient(gradient))),
            Err(source) => {
                let error = at_weight(path, &param, source);
                self.error.get_or_insert(error);
                (param, None)
            }
        }
    }
}
