//! SwiGLU by kernels, on every runtime there is, against its formula in `f64`.
//!
//! The argument of the exponential is off by two roundings, the exponential by two units in the last place;
//! a dozen further roundings follow.

use burn::tensor::{DType, TensorData};
use burn_cubecl::CubeBackend;
use burn_gpt_oss::backend::SwigluBackend;
use kernel_harness::bounds::{Bounded, UNIT, check, dtypes, floats, sample, smallest, unit};
use kernel_harness::runtimes::{read, runtimes};

const LIMIT: f32 = 7.0;
const ALPHA: f32 = 1.702;

/// Rows and columns of the input: odd ones, one pair, whole vectors.
const SHAPES: [[usize; 2]; 4] = [[3, 14], [1, 2], [5, 64], [301, 96]];

/// Values, some of them beyond the limit and far out, some exactly at it.
fn input(shape: [usize; 2], dtype: DType) -> TensorData {
    let mut values = floats(&sample(shape, 9.0, dtype));
    for (i, value) in values.iter_mut().enumerate() {
        match i % 17 {
            3 => *value = 7.0,
            5 => *value = -7.0,
            7 => *value *= 16.0,
            _ => {}
        }
    }
    TensorData::new(values, shape).convert_dtype(dtype)
}

/// Values, and errors of the exponential relative to them.
struct Pair {
    gate: f64,
    up: f64,
    sigmoid: f64,
    error: f64,
}

impl Pair {
    fn new(x: &[f64]) -> Self {
        let gate = x[0].min(LIMIT.into());
        let up = x[1].clamp(-f64::from(LIMIT), LIMIT.into());
        let argument = f64::from(ALPHA) * gate;
        Self {
            gate,
            up,
            sigmoid: 1.0 / (1.0 + (-argument).exp()),
            error: (24.0 + 3.0 * argument.abs()) * UNIT,
        }
    }
}

fn forward(x: &[f64], dtype: DType) -> Vec<Bounded> {
    let value = |x: &[f64]| {
        let p = Pair::new(x);
        let value = p.gate * p.sigmoid * (p.up + 1.0);
        let bound = value.abs() * (p.error + unit(dtype));
        (value, bound + 1e3 * smallest(dtype))
    };
    x.chunks(2).map(value).collect()
}

fn backward(x: &[f64], grad: &[f64], dtype: DType) -> Vec<Bounded> {
    let limit = f64::from(LIMIT);
    let values = x.chunks(2).zip(grad).flat_map(|(x, grad)| {
        let p = Pair::new(x);
        let (first, argument) = (grad * (p.up + 1.0), f64::from(ALPHA) * p.gate);
        let second = argument * p.sigmoid * (1.0 - p.sigmoid);
        // Both terms may cancel.
        let terms = first.abs() * (p.sigmoid + argument.abs() * p.sigmoid);
        let of_gate = first * (p.sigmoid + second);
        let of_up = grad * p.gate * p.sigmoid;
        let bounded = |value: f64, terms: f64, inside: bool| match inside {
            true => {
                let bound = terms * p.error + value.abs() * unit(dtype);
                (value, bound + 1e3 * smallest(dtype))
            }
            false => (0.0, 0.0),
        };
        [
            bounded(of_gate, terms, x[0] <= limit),
            bounded(of_up, of_up.abs(), x[1].abs() <= limit),
        ]
    });
    values.collect()
}

#[test]
fn values_and_gradients_are_within_their_bounds() {
    for runtime in runtimes() {
        let (mut n_cases, mut largest) = (0, 0f64);
        for dtype in dtypes(&runtime) {
            for [rows, columns] in SHAPES {
                let what = format!("{}: [{rows}, {columns}] {dtype:?}", runtime.name);
                println!("{what}");
                let x = input([rows, columns], dtype);
                let grad = sample([rows, columns / 2], 1.0, dtype);
                let on = |data: &TensorData| runtime.tensor(data.clone());
                let found = CubeBackend::clamped_swiglu(on(&x), LIMIT, ALPHA);
                let expected = forward(&floats(&x), dtype);
                let shape = [rows, columns / 2];
                largest = largest.max(check(&what, &read(found), &shape, dtype, &expected));

                let found = CubeBackend::clamped_swiglu_backward(on(&grad), on(&x), LIMIT, ALPHA);
                let expected = backward(&floats(&x), &floats(&grad), dtype);
                let what = format!("{what}, gradient");
                let shape = [rows, columns];
                largest = largest.max(check(&what, &read(found), &shape, dtype, &expected));
                n_cases += 2;
            }
        }
        println!(
            "{}: {n_cases} cases, {largest:.3} of the bound",
            runtime.name
        );
    }
}
