//! Rotary embedding by kernels, on every runtime there is, against its formula in `f64`: three roundings
//! relative to the terms and one to the dtype.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_gpt_oss::backend::RotaryBackend;
use kernel_harness::bounds::{Bounded, UNIT, check, dtypes, floats, sample, smallest, unit};
use kernel_harness::runtimes::{read, runtimes};

/// Batch, sequences that have tables of their own, positions, heads, channels.
const CASES: [[usize; 5]; 4] = [
    [2, 1, 5, 3, 64],
    [2, 2, 5, 3, 64],
    [3, 1, 7, 1, 6],
    [1, 1, 1, 2, 2],
];

fn rotated(
    x: &[f64],
    [cos, sin]: [&[f64]; 2],
    [heads, dim]: [usize; 2],
    dtype: DType,
) -> Vec<Bounded> {
    let half = dim / 2;
    let n_positions = cos.len() / half;
    let value = |i: usize| {
        let (head, channel) = (i / dim, i % dim);
        let at = head / heads % n_positions * half + channel % half;
        let (a, b) = (
            x[head * dim + channel % half],
            x[head * dim + half + channel % half],
        );
        let terms = match channel < half {
            true => [a * cos[at], -b * sin[at]],
            false => [b * cos[at], a * sin[at]],
        };
        let value = terms[0] + terms[1];
        let bound = 3.0 * UNIT * (terms[0].abs() + terms[1].abs()) + value.abs() * unit(dtype);
        (value, bound + smallest(dtype))
    };
    (0..x.len()).map(value).collect()
}

#[test]
fn rotations_are_within_their_bounds() {
    for runtime in runtimes() {
        let (mut n_cases, mut largest) = (0, 0f64);
        for dtype in dtypes(&runtime) {
            for case @ [batch, tables, positions, heads, dim] in CASES {
                let what = format!("{}: {case:?} {dtype:?}", runtime.name);
                println!("{what}");
                let x = sample([batch, positions, heads, dim], 3.0, dtype);
                let cos = sample([tables, positions, 1, dim / 2], 1.0, dtype);
                let sin = sample([tables, positions, 1, dim / 2], 0.7, dtype);
                let on = |data: &burn::tensor::TensorData| runtime.tensor(data.clone());
                let found = CubeBackend::rotary_embedding(on(&x), on(&cos), on(&sin));
                let (cos, sin) = (floats(&cos), floats(&sin));
                let expected = rotated(&floats(&x), [&cos, &sin], [heads, dim], dtype);
                let shape = [batch, positions, heads, dim];
                largest = largest.max(check(&what, &read(found), &shape, dtype, &expected));
                n_cases += 1;
            }
        }
        println!(
            "{}: {n_cases} cases, {largest:.3} of the bound",
            runtime.name
        );
    }
}
