//! The formulas of Flex.

use cubecl::prelude::*;

use crate::ops::exponential::cube::exp_negative;

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
    let (gates, ups) = halves::<P, N>(Vector::cast_from(x[ABSOLUTE_POS]));
    let gates = at_most(gates, limit);
    let ups = at_most(at_least(ups, -limit), limit);
    let values = gates * sigmoid(gates * Vector::new(alpha)) * (ups + Vector::new(1.0f32));
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
    let (x_gates, x_ups) = halves::<P, N>(Vector::cast_from(x[ABSOLUTE_POS]));
    let grads = Vector::<f32, N>::cast_from(grad[ABSOLUTE_POS]);
    let gates = at_most(x_gates, limit);
    let ups = at_most(at_least(x_ups, -limit), limit);
    let (zero, one) = (Vector::<f32, N>::new(0.0f32), Vector::<f32, N>::new(1.0f32));
    let arguments = gates * Vector::new(alpha);
    let s = sigmoid(arguments);
    let of_gates = grads * (ups + one) * (s + arguments * s * (one - s));
    let of_ups = grads * gates * s;
    let limit = Vector::<f32, N>::new(limit);
    let of_gates = select_many(x_gates.greater_than(&limit), zero, of_gates);
    let of_ups = select_many(x_ups.greater_than(&limit), zero, of_ups);
    let of_ups = select_many(x_ups.less_than(&-limit), zero, of_ups);
    let mut values = Vector::<f32, P>::empty();
    #[unroll]
    for i in 0..N::value() {
        values.insert(comptime!(2 * i), of_gates.extract(i));
        values.insert(comptime!(2 * i + 1), of_ups.extract(i));
    }
    output[ABSOLUTE_POS] = Vector::cast_from(values);
}

/// The elements at even places, and those at odd ones.
#[cube]
fn halves<P: Size, N: Size>(pairs: Vector<f32, P>) -> (Vector<f32, N>, Vector<f32, N>) {
    let mut even = Vector::<f32, N>::empty();
    let mut odd = Vector::<f32, N>::empty();
    #[unroll]
    for i in 0..N::value() {
        even.insert(i, pairs.extract(comptime!(2 * i)));
        odd.insert(i, pairs.extract(comptime!(2 * i + 1)));
    }
    (even, odd)
}

/// Unlike a minimum, NaN stays NaN.
#[cube]
fn at_most<N: Size>(x: Vector<f32, N>, limit: f32) -> Vector<f32, N> {
    let limit = Vector::<f32, N>::new(limit);
    select_many(x.greater_than(&limit), limit, x)
}

#[cube]
fn at_least<N: Size>(x: Vector<f32, N>, limit: f32) -> Vector<f32, N> {
    let limit = Vector::<f32, N>::new(limit);
    select_many(x.less_than(&limit), limit, x)
}

/// `1 / (1 + e^-x)`.
#[cube]
fn sigmoid<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let (zero, one) = (Vector::<f32, N>::new(0.0f32), Vector::<f32, N>::new(1.0f32));
    let negative = x.less_than(&zero);
    // Of the two forms the one whose exponential is at most one: it cannot overflow.
    let small = exp_negative(select_many(negative, x, -x));
    select_many(negative, small, one) / (one + small)
}
