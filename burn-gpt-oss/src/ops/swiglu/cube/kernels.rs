//! The formulas of Flex.

use cubecl::prelude::*;

/// `P` is two times `N`.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(crate) fn forward<F: Float, P: Size, N: Size>(
    x: &[Vector<F, P>],
    output: &mut [Vector<F, N>],
    limit: f32,
    alpha: f32,
    n_vectors: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= n_vectors {
        terminate!();
    }
    let pairs = Vector::<f32, P>::cast_from(x[ABSOLUTE_POS]);
    let mut values = Vector::<f32, N>::empty();
    #[unroll]
    for i in 0..N::value() {
        let gate = at_most(pairs.extract(comptime!(2 * i)), limit);
        let up = at_most(at_least(pairs.extract(comptime!(2 * i + 1)), -limit), limit);
        values.insert(i, gate * sigmoid(alpha * gate) * (up + 1.0f32));
    }
    output[ABSOLUTE_POS] = Vector::cast_from(values);
}

/// `P` is two times `N`.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn backward<F: Float, P: Size, N: Size>(
    grad: &[Vector<F, N>],
    x: &[Vector<F, P>],
    output: &mut [Vector<F, P>],
    limit: f32,
    alpha: f32,
    n_vectors: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= n_vectors {
        terminate!();
    }
    let pairs = Vector::<f32, P>::cast_from(x[ABSOLUTE_POS]);
    let grads = Vector::<f32, N>::cast_from(grad[ABSOLUTE_POS]);
    let mut values = Vector::<f32, P>::empty();
    #[unroll]
    for i in 0..N::value() {
        let x_gate = pairs.extract(comptime!(2 * i));
        let x_up = pairs.extract(comptime!(2 * i + 1));
        let grad = grads.extract(i);
        let gate = at_most(x_gate, limit);
        let up = at_most(at_least(x_up, -limit), limit);
        let s = sigmoid(alpha * gate);
        let of_gate = grad * (up + 1.0f32) * (s + alpha * gate * s * (1.0f32 - s));
        let of_up = grad * gate * s;
        values.insert(comptime!(2 * i), select(x_gate > limit, 0.0f32, of_gate));
        let outside = x_up > limit || x_up < -limit;
        values.insert(comptime!(2 * i + 1), select(outside, 0.0f32, of_up));
    }
    output[ABSOLUTE_POS] = Vector::cast_from(values);
}

#[cube]
fn at_most(x: f32, limit: f32) -> f32 {
    select(x > limit, limit, x)
}

#[cube]
fn at_least(x: f32, limit: f32) -> f32 {
    select(x < limit, limit, x)
}

/// `1 / (1 + e^-x)`.
#[cube]
fn sigmoid(x: f32) -> f32 {
    // Of the two forms the one whose exponential is at most one: it cannot overflow.
    let small = f32::exp(-f32::abs(x));
    select(x < 0.0f32, small, 1.0f32) / (1.0f32 + small)
}
