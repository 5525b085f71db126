//! A low-rank delta of a weight, and the weight with it.

#[cfg(all(feature = "_cube", feature = "fusion"))]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType};
use burn::tensor::{DType, FloatDType, Int, Tensor};

use super::experts::{ExpertBackend, ExpertRouting, expert_linear, expert_routing};
use super::linear::linear;
use super::operand::{Operand, OperandPrimitive};
use crate::packed::fp4_tensor::Fp4Tensor;
use crate::scheme::Fp4Scheme;

/// `scaling * a b`, of one matrix, `D` is 2, or of every expert, `D` is 3 (LoRA, Hu et al. 2021, section 4.1).
#[derive(Clone, Debug)]
pub struct LowRank<const D: usize> {
    /// `[..., in, rank]`, `f32`
    pub a: Tensor<D>,
    /// `[..., rank, out]`, `f32`
    pub b: Tensor<D>,
    /// What the product of both is multiplied with.
    pub scaling: f32,
}

impl<const D: usize> LowRank<D> {
    /// `[..., in, out]`
    pub fn shape(&self) -> [usize; D] {
        let mut shape = self.a.dims();
        shape[D - 1] = self.b.dims()[D - 1];
        shape
    }

    /// `scaling * a b`, `[..., in, out]`, with the products of this crate: a row of `a` is a row for its expert.
    fn product(self) -> Tensor<D> {
        let (shape, device) = (self.shape(), self.a.device());
        let [d_input, d_output] = [shape[D - 2], shape[D - 1]];
        let n_experts = shape[..D - 2].iter().product::<usize>();
        let rank = self.b.dims()[D - 2];
        let rows = self.a.reshape([n_experts * d_input, rank]);
        let product = match n_experts {
            1 => linear(rows, self.b.reshape([rank, d_output]), None),
            _ => {
                let experts = Tensor::<1, Int>::arange(0..n_experts as i64, &device);
                let experts = experts.reshape([n_experts, 1]).repeat_dim(1, d_input);
                let routing = expert_routing(experts.reshape([n_experts * d_input, 1]), n_experts);
                let bias = Tensor::zeros([n_experts, d_output], (&device, DType::F32));
                let matrices = self.b.reshape([n_experts, rank, d_output]);
                expert_linear(rows, matrices, bias, &routing)
            }
        };
        product.reshape(shape) * self.scaling
    }

    pub(super) fn primitive(self) -> LowRankPrimitive<Dispatch> {
        LowRankPrimitive {
            a: self.a.into_dispatch(),
            b: self.b.into_dispatch(),
            scaling: self.scaling,
        }
    }

    fn check(&self, shape: [usize; D]) {
        assert_eq!(self.shape(), shape, "a low-rank delta of another weight");
        let (mut a, mut b) = (self.a.dims(), self.b.dims());
        (a[D - 2], b[D - 1]) = (0, 0);
        b.swap(D - 2, D - 1);
        assert_eq!(a, b, "factors of a low-rank delta");
        for factor in [&self.a, &self.b] {
            assert_eq!(factor.dtype(), DType::F32, "dtype of a low-rank delta");
        }
    }
}

/// [`LowRank`] of a backend, of the matrices of experts.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "_cube", feature = "fusion")))]
pub struct LowRankPrimitive<B: Backend> {
    /// `[experts, in, rank]`
    pub a: FloatTensor<B>,
    /// `[experts, rank, out]`
    pub b: FloatTensor<B>,
    /// What the product of both is multiplied with.
    pub scaling: f32,
}

#[cfg(all(feature = "_cube", feature = "fusion"))]
impl LowRankPrimitiveMetadata {
    /// Elements of an input and of an output.
    pub(super) fn widths(&self) -> [usize; 2] {
        let last =
            |tensor: &TensorSpec, from_end: usize| tensor.shape[tensor.shape.num_dims() - from_end];
        [last(&self.a, 2), last(&self.b, 1)]
    }
}

/// A frozen weight with a low-rank delta that trains.
///
/// Without rounding, rows are multiplied with the weight and with both factors one after the other:
/// `x W + scaling * (x a) b`. With it they are multiplied with `Q(W + scaling * a b)`, codes that are computed
/// for the experts that have rows, and the gradient passes straight through `Q`. An element is merged in
/// `f32`: products of factors are added in the order of the rank, beginning with zero, the sum is multiplied
/// with the scaling, and the result is added to the element of `W`. Each of these steps is rounded to nearest,
/// none is fused with another. Training, export and all backends therefore have the same codes.
#[derive(Clone, Debug)]
pub struct Adapted<const D: usize> {
    base: Operand<D>,
    delta: LowRank<D>,
    rounding: Option<Rounding>,
}

/// What a merged weight is rounded to.
#[derive(Clone, Debug)]
struct Rounding {
    scheme: Fp4Scheme,
    global_scales: Option<Tensor<1>>,
}

impl<const D: usize> Adapted<D> {
    /// The weight without rounding.
    ///
    /// # Panics
    /// If the delta is one of a weight of another shape or not `f32`, or `base` trains itself.
    pub fn new(base: impl Into<Operand<D>>, delta: LowRank<D>) -> Self {
        let base = base.into();
        assert!(
            matches!(base, Operand::Dense(_) | Operand::Packed(_)),
            "a delta of a weight that trains"
        );
        delta.check(base.shape());
        Self {
            base,
            delta,
            rounding: None,
        }
    }

    /// Rounds the merged weight to MXFP4 or NVFP4.
    ///
    /// # Shapes
    /// - global_scales: `[1]`, or `[experts]` where the scheme has one for each; only NVFP4 has them, and those
    ///   of a packed base are taken where none are given
    ///
    /// # Panics
    /// If NVFP4 has no global scales, or they have another shape.
    pub fn rounded(self, scheme: Fp4Scheme, global_scales: Option<Tensor<1>>) -> Self {
        let of_base = match &self.base {
            Operand::Packed(base) => base.global_scales(),
            _ => None,
        };
        let global_scales = global_scales.or(of_base);
        let shape = self.base.shape();
        let n_experts = shape[..D - 2].iter().product();
        let n_scales = scheme.n_global_scales(&[n_experts, shape[D - 2], shape[D - 1]]);
        let found = global_scales.as_ref().map_or(0, |scales| scales.dims()[0]);
        assert!(
            n_scales == 0 || n_scales == found,
            "{found} global scales where {scheme:?} has {n_scales}"
        );
        let rounding = Rounding {
            scheme,
            global_scales: global_scales.filter(|_| n_scales > 0),
        };
        Self {
            rounding: Some(rounding),
            ..self
        }
    }

    /// `[..., in, out]`
    pub fn shape(&self) -> [usize; D] {
        self.base.shape()
    }

    /// The weight without the delta.
    pub fn base(&self) -> &Operand<D> {
        &self.base
    }

    /// The delta.
    pub fn delta(&self) -> &LowRank<D> {
        &self.delta
    }

    pub(super) fn into_base(self) -> Operand<D> {
        self.base
    }

    /// `a` and `b` as rows of a dtype are multiplied with them.
    pub(super) fn factors(&self, dtype: DType) -> [Tensor<D>; 2] {
        [&self.delta.a, &self.delta.b].map(|factor| match dtype {
            DType::F32 => factor.clone(),
            other => factor.clone().cast(other),
        })
    }

    /// What the merged weight is rounded to.
    pub fn scheme(&self) -> Option<Fp4Scheme> {
        self.rounding.as_ref().map(|rounding| rounding.scheme)
    }
}

impl<const D: usize> Adapted<D> {
    /// The same weight as that of experts, one if it is a single matrix.
    pub(super) fn as_experts(&self) -> Adapted<3> {
        let experts = |shape: [usize; D]| {
            let n_experts = shape[..D - 2].iter().product();
            [n_experts, shape[D - 2], shape[D - 1]]
        };
        let dense = |tensor: &Tensor<D>| tensor.clone().reshape(experts(tensor.dims()));
        Adapted {
            base: match &self.base {
                Operand::Packed(base) => Operand::Packed(base.with_axes(experts(base.shape()))),
                Operand::Dense(base) => Operand::Dense(dense(base)),
                Operand::Adapted(_) | Operand::Rounded(_) => unreachable!("refused by `new`"),
            },
            delta: LowRank {
                a: dense(&self.delta.a),
                b: dense(&self.delta.b),
                scaling: self.delta.scaling,
            },
            rounding: self.rounding.clone(),
        }
    }

    /// The codes that rows are multiplied with, of all experts; none without rounding.
    ///
    /// # Shapes
    /// - result: `[..., out, in]`
    pub fn merge(&self) -> Option<Fp4Tensor<D>> {
        let weight = self.as_experts();
        let [n_experts, ..] = weight.shape();
        let device = self.delta.a.device();
        let merged = weight.merged_for(&ExpertRouting::one_row_each(n_experts, &device))?;
        let OperandPrimitive::Merged(codes, scheme, _) = merged else {
            return None;
        };
        let mut shape = self.shape();
        shape.swap(D - 2, D - 1);
        Some(Fp4Tensor::<3>::from_primitive(codes, scheme).with_axes(shape))
    }

    /// The weight that rows are multiplied with as a whole, `f32`; the gradient of the factors passes straight
    /// through rounding.
    ///
    /// # Shapes
    /// - output: `[..., in, out]`
    pub fn val(&self) -> Tensor<D> {
        let base = match &self.base {
            Operand::Packed(base) => base.dequantize(D - 2, FloatDType::F32),
            Operand::Dense(base) => base.clone().cast(DType::F32),
            Operand::Adapted(_) | Operand::Rounded(_) => unreachable!("refused by `new`"),
        };
        let delta = self.delta.clone();
        let tracked = delta.a.is_require_grad() || delta.b.is_require_grad();
        let Some(codes) = self.merge() else {
            return base + delta.product();
        };
        let rounded = codes.dequantize(D - 2, FloatDType::F32);
        if !tracked {
            return rounded;
        }
        // A difference of zero whose gradient is that of the sum.
        let delta = delta.product();
        rounded + (delta.clone() - delta.detach())
    }
}

impl Adapted<3> {
    /// The codes for the experts that have rows, those of the others unspecified, with the delta that their
    /// gradient goes to; none without rounding.
    pub(super) fn merged_for(&self, routing: &ExpertRouting) -> Option<OperandPrimitive<Dispatch>> {
        let Rounding {
            scheme,
            global_scales,
        } = self.rounding.as_ref()?;
        let unread = || Tensor::ones([1], (&self.delta.a.device(), DType::F32));
        let global_scales = global_scales.clone().unwrap_or_else(unread);
        let delta = self.delta.clone().primitive();
        let codes = Dispatch::expert_merge(
            self.base.clone().primitive(),
            delta.clone(),
            global_scales.into_dispatch(),
            routing.primitive(),
            *scheme,
        );
        Some(OperandPrimitive::Merged(codes, *scheme, delta))
    }
}
