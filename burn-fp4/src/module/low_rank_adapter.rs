//! Low-rank adapters of the weights of any Burn module.

use burn::module::{Module, Param, Reparameterization, Reparameterizer};
use burn::tensor::{FloatDType, Tensor};

use crate::codec::frozen::Frozen;
use crate::packed::fp4_tensor::Fp4Tensor;
use crate::product::low_rank::{Adapted, LowRank};
use crate::product::operand::Operand;
use crate::scheme::Fp4Scheme;

/// The adapter of one frozen weight, and the quantizer of the sum of both: what multiplies is
/// `W + scaling * a b`, or that rounded to FP4. Only the factors train.
///
/// On a dense parameter it is a Burn `Reparameterization`. Burn allows one for each parameter, so adapter and
/// quantizer are one struct; reading the parameter gives the sum, as a whole. Products take
/// [`adapted`](Self::adapted) instead, for which the sum never exists as a dense weight.
#[derive(Module, Debug)]
pub struct LowRankAdapter<const D: usize> {
    /// `[.., in, rank]`, `f32`
    pub a: Param<Tensor<D>>,
    /// `[.., rank, out]`, `f32`
    pub b: Param<Tensor<D>>,
    #[module(skip)]
    scaling: f32,
    #[module(skip)]
    dropout: f64,
    #[module(skip)]
    scheme: Option<Fp4Scheme>,
    global_scales: Option<Frozen>,
}

impl<const D: usize> LowRankAdapter<D> {
    /// An adapter without a quantizer.
    ///
    /// # Shapes
    ///
    /// - a: `[.., in, rank]`
    /// - b: `[.., rank, out]`
    pub fn new(a: Tensor<D>, b: Tensor<D>, scaling: f32) -> Self {
        Self {
            a: Param::from_tensor(a),
            b: Param::from_tensor(b),
            scaling,
            dropout: 0.0,
            scheme: None,
            global_scales: None,
        }
    }

    /// The same factors with a quantizer of the sum, or without one.
    ///
    /// # Shapes
    ///
    /// - global_scales: as [`Adapted::rounded`] takes them
    pub fn with_quantizer(
        mut self,
        scheme: Option<Fp4Scheme>,
        global_scales: Option<Tensor<1>>,
    ) -> Self {
        self.scheme = scheme;
        self.global_scales = global_scales.map(Frozen::new);
        self
    }

    /// The same factors with a quantizer whose global scales, in NVFP4, are those of a packed `base` or follow
    /// from the largest magnitudes of a dense one as it is now.
    pub fn quantized_for(self, base: &Operand<D>, scheme: Fp4Scheme) -> Self {
        let n_scales = scheme.n_global_scales(&base.shape());
        let values = match base {
            _ if n_scales == 0 => return self.with_quantizer(Some(scheme), None),
            Operand::Packed(base) if base.scheme() == scheme => {
                return self.with_quantizer(Some(scheme), base.global_scales());
            }
            Operand::Packed(base) => base.dequantize(D - 2, FloatDType::F32),
            Operand::Dense(base) => base.clone(),
            Operand::Adapted(base) => base.val(),
            Operand::Rounded(base) => base.codes().dequantize(D - 2, FloatDType::F32),
        };
        let scales = Fp4Tensor::quantize(values, D - 2, &scheme).global_scales();
        self.with_quantizer(Some(scheme), scales)
    }

    /// The share of inputs that the factors do not see while they train.
    pub fn with_dropout(mut self, dropout: f64) -> Self {
        self.dropout = dropout;
        self
    }

    /// What the product of the factors is multiplied with.
    pub fn scaling(&self) -> f32 {
        self.scaling
    }

    /// The share of inputs that the factors do not see while they train.
    pub fn dropout(&self) -> f64 {
        self.dropout
    }

    /// The rank.
    pub fn rank(&self) -> usize {
        self.a.lazy_shape()[D - 1]
    }

    /// What the sum is rounded to.
    pub fn scheme(&self) -> Option<Fp4Scheme> {
        self.scheme
    }

    /// The delta.
    pub fn delta(&self) -> LowRank<D> {
        LowRank {
            a: self.a.val(),
            b: self.b.val(),
            scaling: self.scaling,
        }
    }

    /// The parameter, frozen, with this adapter in place of a reparameterization that it may have.
    pub fn attach(self, weight: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let base = Param::initialized(weight.id, weight.base()).set_require_grad(false);
        base.apply_reparameterization(Attach(Some(self)))
    }

    /// The weight with this adapter, as products take it.
    ///
    /// # Panics
    ///
    /// If it has another shape than the adapter, or NVFP4 has no global scales.
    pub fn adapted(&self, base: impl Into<Operand<D>>) -> Adapted<D> {
        let adapted = Adapted::new(base, self.delta());
        match self.scheme {
            Some(scheme) => adapted.rounded(scheme, self.global_scales.as_ref().map(Frozen::val)),
            None => adapted,
        }
    }
}

/// Hands an adapter to the one parameter that it meets.
struct Attach<const N: usize>(Option<LowRankAdapter<N>>);

impl<const N: usize> Reparameterizer for Attach<N> {
    type Reparam = LowRankAdapter<N>;

    fn reparameterize<const D: usize>(
        &mut self,
        _path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<LowRankAdapter<N>>) {
        (param, self.0.take())
    }
}

impl<const N: usize> Reparameterization for LowRankAdapter<N> {
    const NAME: &'static str = "lora";

    /// # Panics
    ///
    /// If the weight has another rank than the factors.
    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        assert_eq!(D, N, "an adapter of a weight with {N} axes");
        let shape = base.dims();
        let same: [usize; N] = core::array::from_fn(|i| shape[i]);
        self.adapted(base.reshape(same)).val().reshape(shape)
    }
}
