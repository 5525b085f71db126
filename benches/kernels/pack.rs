//! Packing and unpacking on the device that `BURN_DEVICE` names, beside a copy.
//!
//! Floor: the tensor and its packed form once each, with the largest magnitude given. The copy is an
//! element-wise operation on `f32`.

use std::cell::LazyCell;

use burn::tensor::{DType, FloatDType};
use burn_fp4::{Fp4Scheme, Fp4Tensor, global_amax};

use crate::device::{Target, name};
use crate::device_table::{BYTES, Table};

pub fn run(target: &Target) {
    let table = Table::new(target, BYTES);
    let experts = target.experts(1);
    // Software Vulkan binds at most 128 MB.
    let side = if target.large { 8192 } else { 4096 };
    for dtype in target.dtypes() {
        measure(&table, target, dtype, [experts, 2880, 5760], 1);
        measure(&table, target, dtype, [experts, 5760, 2880], 2);
        measure(&table, target, dtype, [side, side], 0);
        measure(&table, target, dtype, [side, side], 1);
    }
}

fn measure<const D: usize>(
    table: &Table<'_>,
    target: &Target,
    dtype: FloatDType,
    shape: [usize; D],
    axis: usize,
) {
    // Made when the first row needs it: a filter may leave out all of them.
    let x = LazyCell::new(|| target.random(shape, dtype));
    let elements: usize = shape.iter().product();
    for scheme in [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4()] {
        let bytes =
            elements * DType::from(dtype).size() + elements / 2 + elements / scheme.block_size();
        let row = |operation| {
            let dtype = name(dtype);
            format!("{operation} | {scheme} | {dtype} | {shape:?} axis {axis}")
        };
        let amax = LazyCell::new(|| global_amax(x.clone(), &scheme));
        let pack = || Fp4Tensor::quantize_with_amax(x.clone(), amax.clone(), axis, &scheme);
        table.traffic(&row("quantize"), bytes, pack);
        let packed = LazyCell::new(pack);
        table.traffic(&row("dequantize"), bytes, || packed.dequantize(axis, dtype));
    }
}
