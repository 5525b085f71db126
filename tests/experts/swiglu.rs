//! SwiGLU against its formula in f64.

use burn::tensor::{DType, Device, Tensor};
use burn_gpt_oss::ops::clamped_swiglu;

use crate::case::{rounding, tensor, values};

const LIMIT: f64 = 7.0;
const ALPHA: f32 = 1.702;

fn formula(gate: f64, up: f64) -> f64 {
    let (gate, up) = (gate.min(LIMIT), up.clamp(-LIMIT, LIMIT));
    gate / (1.0 + (-f64::from(ALPHA) * gate).exp()) * (up + 1.0)
}

/// Gates and ups from -12 to 12, exact in every dtype, the limits among them; of a size that is no
/// multiple of a vector or a task.
fn inputs() -> Vec<f64> {
    let n = 14 * 599;
    (0..n).map(|i| (i * 29 % 193) as f64 / 8.0 - 12.0).collect()
}

fn run(dtype: DType) -> (Vec<f64>, Vec<f64>) {
    let device = Device::flex().autodiff();
    let x: Tensor<2> = tensor(&inputs(), [inputs().len() / 14, 14], &device, dtype);
    let x = x.require_grad();
    let out = clamped_swiglu(x.clone(), LIMIT as f32, ALPHA);
    let grads = (out.clone() * 0.5).sum().backward();
    (values(out), values(x.grad(&grads).unwrap()))
}

/// Relative: a sigmoid within 4 units in the last place, a rounding of its argument, which the
/// exponential multiplies, and eight others.
fn error(gate: f64) -> f64 {
    (16.0 + (f64::from(ALPHA) * gate).abs()) * 2f64.powi(-24)
}

#[test]
fn values_are_those_of_the_formula() {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let (found, _) = run(dtype);
        let (relative, absolute) = rounding(dtype);
        for (found, pair) in found.iter().zip(inputs().chunks(2)) {
            let exact = formula(pair[0], pair[1]);
            let bound = exact.abs() * (error(pair[0]) + relative) + absolute;
            assert!((found - exact).abs() <= bound, "{pair:?}: {found} {exact}");
        }
    }
}

#[test]
fn gradients_are_finite_differences() {
    let step = 1e-5;
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let (_, found) = run(dtype);
        let (relative, absolute) = rounding(dtype);
        for (found, pair) in found.chunks(2).zip(inputs().chunks(2)) {
            let (gate, up) = (pair[0], pair[1]);
            // At a bound the gradient is that of the inside.
            let inside = |x: f64| if x == LIMIT { x - step } else { x };
            let from_gate = |gate| formula(gate, up);
            let from_up = |up| formula(gate, up);
            let slope = |f: &dyn Fn(f64) -> f64, x: f64| (f(x + step) - f(x - step)) / (2.0 * step);
            let of_up = if up == -LIMIT { up + step } else { inside(up) };
            let exact = [slope(&from_gate, inside(gate)), slope(&from_up, of_up)];
            for (found, exact) in found.iter().zip(exact) {
                let exact = 0.5 * exact;
                // Third derivatives times step^2, and f64 over the step; at a bound the slope is that
                // a step away, where the second derivative, below 20, counts.
                let at_bound = [gate, up].iter().any(|x| x.abs() == LIMIT);
                let difference = if at_bound { 20.0 * step } else { 1e-8 };
                // The terms of the derivative by a gate are at most 1.3 * 8 in magnitude.
                let bound = exact.abs() * relative + absolute + difference + 11.0 * error(gate);
                assert!((found - exact).abs() <= bound, "{pair:?}: {found} {exact}");
            }
        }
    }
}

#[test]
fn values_that_are_not_finite_stay_what_they_are() {
    let device = Device::flex();
    let x = [
        f64::NAN,
        0.0,
        f64::NEG_INFINITY,
        0.0,
        f64::INFINITY,
        0.0,
        1.0,
        f64::NAN,
        -200.0,
        0.5,
    ];
    let out = values(clamped_swiglu(
        tensor(&x, [1, 10], &device, DType::F32),
        7.0,
        ALPHA,
    ));
    assert!(out[0].is_nan() && out[3].is_nan());
    assert_eq!(out[2] as f32, formula(7.0, 0.0) as f32);
    assert!(out[4].abs() < 1e-30);
}
