//! Few rows times the matrices of gpt-oss-20b as checkpoints store them, on the device that `BURN_DEVICE`
//! names.
//!
//! Bound by memory: the floor is one read of the matrix, and a copy runs beside it. Matrices take turns, so
//! that none but the router is found in a cache. Rows are `f32` beside matrices in 16 bits on slow devices,
//! else of the same dtype.

use std::cell::LazyCell;

use burn::tensor::{DType, FloatDType};
use burn_fp4::linear;

use crate::device::{Target, name};
use crate::device_table::{BYTES, Table};
use crate::products::Turn;

/// `[out, in]`: queries, keys or values, output of attention, router, head.
const MATRICES: [[usize; 2]; 5] = [
    [4096, 2880],
    [512, 2880],
    [2880, 4096],
    [32, 2880],
    [201_088, 2880],
];
/// Elements that slow devices do without.
const LARGE: usize = 1 << 28;

pub fn run(target: &Target) {
    let table = Table::new(target, BYTES);
    for dtype in target.dtypes() {
        for shape in MATRICES {
            if target.large || shape.iter().product::<usize>() < LARGE {
                measure(&table, target, dtype, shape);
            }
        }
    }
}

fn measure(table: &Table<'_>, target: &Target, dtype: FloatDType, shape: [usize; 2]) {
    let [_, d_input] = shape;
    let elements: usize = shape.iter().product();
    let bytes = elements * DType::from(dtype).size();
    let copies = if elements < LARGE { 24 } else { 1 };
    let weights = LazyCell::new(|| {
        let weight = |_| target.random(shape, dtype).swap_dims(0, 1);
        (0..copies).map(weight).collect::<Vec<_>>()
    });
    let turn = Turn::default();
    let of_rows = if target.large { dtype } else { FloatDType::F32 };
    for n_rows in [1, 4, 16] {
        let x = LazyCell::new(|| target.random([n_rows, d_input], of_rows));
        let (of_rows, of_weight) = (name(of_rows), name(dtype));
        let row = format!("few rows | {of_weight} | {of_rows} | {n_rows} rows, {shape:?}");
        table.traffic(&row, bytes, || {
            linear(x.clone(), turn.next(&weights).clone(), None)
        });
    }
}
