//! What the tests of both formats run over.

use proptest::prelude::*;

use crate::scheme::global_scale::GlobalScope;
use crate::scheme::scale_rule::{Nvfp4ScaleRule, ScaleRule};
use crate::scheme::{Fp4Scheme, Nvfp4BlockSize};

pub const MX_RULES: [ScaleRule; 4] = [
    ScaleRule::Ceil,
    ScaleRule::Floor,
    ScaleRule::Even,
    ScaleRule::Mse,
];

pub const NV_RULES: [Nvfp4ScaleRule; 3] = [
    Nvfp4ScaleRule::Nearest,
    Nvfp4ScaleRule::Mse,
    Nvfp4ScaleRule::FourOverSix,
];

/// NVFP4 in both block sizes and both scopes.
pub fn nvfp4(scale_rule: Nvfp4ScaleRule) -> Vec<Fp4Scheme> {
    let mut schemes = Vec::new();
    for block_size in [Nvfp4BlockSize::Sixteen, Nvfp4BlockSize::ThirtyTwo] {
        for global_scope in [GlobalScope::Tensor, GlobalScope::Expert] {
            schemes.push(Fp4Scheme::Nvfp4 {
                scale_rule,
                block_size,
                global_scope,
            });
        }
    }
    schemes
}

/// Every rule, block size and scope.
pub fn schemes() -> Vec<Fp4Scheme> {
    let mx = MX_RULES.map(Fp4Scheme::mxfp4_with).into_iter();
    mx.chain(NV_RULES.into_iter().flat_map(nvfp4)).collect()
}

pub fn any_scheme() -> impl Strategy<Value = Fp4Scheme> {
    prop::sample::select(schemes())
}

/// A shape of three axes, the block axis, and values.
#[derive(Clone, Debug)]
pub struct Input {
    pub shape: [usize; 3],
    pub axis: usize,
    pub values: Vec<f32>,
}

impl Input {
    pub fn n_elements(&self) -> usize {
        self.values.len()
    }

    /// Values of the block that element `index` belongs to.
    pub fn blocks<T: Copy>(&self, values: &[T], block: usize) -> Vec<Vec<T>> {
        let moved = axis_last(values, self.shape, self.axis);
        moved.chunks(block).map(<[T]>::to_vec).collect()
    }
}

/// `values` with `axis` moved to the end.
pub fn axis_last<T: Copy>(values: &[T], shape: [usize; 3], axis: usize) -> Vec<T> {
    let outer: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis + 1..].iter().product();
    let len = shape[axis];
    let mut moved = Vec::with_capacity(values.len());
    for o in 0..outer {
        for i in 0..inner {
            moved.extend((0..len).map(|l| values[(o * len + l) * inner + i]));
        }
    }
    moved
}

/// Any bits: subnormals, and the whole range of `f32`.
fn wide() -> BoxedStrategy<f32> {
    let finite = any::<u32>().prop_map(f32::from_bits);
    finite.prop_filter("finite", |x| x.is_finite()).boxed()
}

/// One magnitude, with quarters that are ties.
fn near() -> BoxedStrategy<f32> {
    let quarter = |(x, e): (f32, i32)| (x * 4.0).round() / 4.0 * 2f32.powi(e);
    let quarters = (-8.0f32..8.0, -4i32..4).prop_map(quarter);
    prop_oneof![-1.0f32..1.0, quarters, Just(0.0), Just(-0.0)].boxed()
}

/// Multiples of the smallest number.
fn subnormal() -> BoxedStrategy<f32> {
    let bits = (0u32..0x0100_0000, any::<bool>(), 0u32..24);
    let value = |(bits, negative, shift): (u32, bool, u32)| {
        f32::from_bits(bits >> shift | u32::from(negative) << 31)
    };
    bits.prop_map(value).boxed()
}

/// Elements of a tensor, all of one kind.
pub fn elements(n_elements: usize) -> impl Strategy<Value = Vec<f32>> {
    let vector = |element: BoxedStrategy<f32>| prop::collection::vec(element, n_elements);
    prop_oneof![
        4 => vector(near()),
        2 => vector(wide()),
        1 => vector(subnormal()),
    ]
}

/// Odd sizes around blocks along any axis but the first where that tells experts apart.
pub fn any_input(scheme: Fp4Scheme) -> impl Strategy<Value = Input> {
    let first = usize::from(scheme.has_expert_scales());
    let sizes = (first..3usize, [1usize..4, 1..4, 1..6], 1usize..4);
    sizes.prop_flat_map(move |(axis, sizes, n_blocks)| {
        let mut shape = sizes;
        shape[axis] = n_blocks * scheme.block_size();
        elements(shape.iter().product()).prop_map(move |values| Input {
            shape,
            axis,
            values,
        })
    })
}

/// A scheme with an input that fits it.
pub fn any_case() -> impl Strategy<Value = (Fp4Scheme, Input)> {
    any_scheme().prop_flat_map(|scheme| (Just(scheme), any_input(scheme)))
}

/// Deterministic values of mixed sign and size.
pub fn sample(n_elements: usize) -> Vec<f32> {
    let value = |i: usize| {
        let mixed = (i as u32).wrapping_mul(2_654_435_761);
        let mixed = (mixed ^ mixed >> 15).wrapping_mul(2_246_822_519);
        (mixed >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let scaled = |i: usize| value(i) * ((i / 97 % 9) as f32 - 4.0).exp2();
    (0..n_elements).map(scaled).collect()
}
