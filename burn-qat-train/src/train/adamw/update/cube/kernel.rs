use cubecl::prelude::*;

/// [`AdamWFactors`](super::super::AdamWFactors) for a kernel; `kept` is what is left of a weight.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct Factors {
    beta_1: f32,
    beta_2: f32,
    bias_1: f32,
    bias_2: f32,
    epsilon: f32,
    learning_rate: f32,
    kept: f32,
}

/// The order of operations is that of [`AdamW`](burn::optim::AdamW), in float32 with one rounding to the
/// dtype at the end.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn update<F: Float, N: Size>(
    weight: &mut [Vector<F, N>],
    moment_1: &mut [Vector<F, N>],
    moment_2: &mut [Vector<F, N>],
    grad: &[Vector<F, N>],
    factors: Factors,
    n_vectors: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= n_vectors {
        terminate!();
    }
    let w = Vector::<f32, N>::cast_from(weight[ABSOLUTE_POS]);
    let m = Vector::<f32, N>::cast_from(moment_1[ABSOLUTE_POS]);
    let v = Vector::<f32, N>::cast_from(moment_2[ABSOLUTE_POS]);
    let g = Vector::<f32, N>::cast_from(grad[ABSOLUTE_POS]);
    let m = m * Vector::new(factors.beta_1) + g * Vector::new(1.0f32 - factors.beta_1);
    let v = v * Vector::new(factors.beta_2) + g * g * Vector::new(1.0f32 - factors.beta_2);
    let root = Vector::sqrt(v / Vector::new(factors.bias_2)) + Vector::new(factors.epsilon);
    let delta = m / Vector::new(factors.bias_1) / root;
    let w = w * Vector::new(factors.kept) - delta * Vector::new(factors.learning_rate);
    weight[ABSOLUTE_POS] = Vector::cast_from(w);
    moment_1[ABSOLUTE_POS] = Vector::cast_from(m);
    moment_2[ABSOLUTE_POS] = Vector::cast_from(v);
}
