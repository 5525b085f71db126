//! Fake quantization on the device that `BURN_DEVICE` names, beside a copy.
//!
//! Floors: one read and one write of the tensor with the largest magnitude given or without need of
//! it, one more read where it is found anew, two reads and one write for the clip-aware gradient. The
//! copy is an element-wise operation on `f32`. Goal: 80 % of the copy, which is 22 ms for the expert
//! weights of gpt-oss-20b on an H200.

use std::cell::LazyCell;

use burn::backend::Dispatch;
use burn::tensor::{DType, FloatDType, Tensor};
use burn_fp4::backend::Fp4Backend;
use burn_fp4::{FakeQuantizer, Fp4Scheme, global_amax};

use crate::device::{Target, name};
use crate::device_table::{BYTES, Table};

/// Layers of gpt-oss-20b.
const LAYERS: usize = 24;

pub fn run(target: &Target) {
    let table = Table::new(target, BYTES);
    let experts = target.experts(1);
    // Software Vulkan binds at most 128 MB.
    let side = if target.large { 8192 } else { 4096 };
    for dtype in target.dtypes() {
        measure(&table, target, dtype, [experts, 2880, 5760], 1);
        measure(&table, target, dtype, [experts, 2880, 2880], 1);
        measure(&table, target, dtype, [experts, 5760, 2880], 2);
        measure(&table, target, dtype, [side, side], 0);
        measure(&table, target, dtype, [side, side], 1);
        if target.large {
            all_experts(&table, target, dtype);
        }
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
    let grad = LazyCell::new(|| target.random(shape, dtype));
    let pass = shape.iter().product::<usize>() * DType::from(dtype).size();
    for scheme in [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4()] {
        let quantizer = FakeQuantizer::new(scheme);
        let amax = LazyCell::new(|| global_amax(x.clone(), &scheme));
        let row = |operation| {
            let dtype = name(dtype);
            format!("{operation} | {scheme} | {dtype} | {shape:?} axis {axis}")
        };
        let frozen = || quantizer.forward_with_amax(x.clone(), amax.clone(), axis);
        if matches!(scheme, Fp4Scheme::Nvfp4 { .. }) {
            table.traffic(&row("amax given"), 2 * pass, frozen);
            table.traffic(&row("amax anew"), 3 * pass, || {
                quantizer.forward(x.clone(), axis)
            });
        } else {
            table.traffic(&row("no amax"), 2 * pass, frozen);
        }
        table.traffic(&row("clip-aware gradient"), 3 * pass, || {
            let (grad, x) = (grad.clone().into_dispatch(), x.clone().into_dispatch());
            let amax = amax.clone().into_dispatch();
            Tensor::<D>::from_dispatch(Dispatch::fp4_clip_gradient(grad, x, amax, axis, scheme))
        });
    }
}

/// What quantization-aware training adds to a forward pass; the weights of one layer stand for all.
fn all_experts(table: &Table<'_>, target: &Target, dtype: FloatDType) {
    let shapes = [[32, 2880, 5760], [32, 2880, 2880]];
    let layer = LazyCell::new(|| shapes.map(|shape| target.random(shape, dtype)));
    let elements: usize = shapes.map(|shape| shape.iter().product()).iter().sum();
    let quantizer = FakeQuantizer::new(Fp4Scheme::mxfp4());
    let row = format!(
        "gpt-oss-20b, goal 22 ms in bf16 | {} | {} | {LAYERS} x {shapes:?} axis 1",
        quantizer.scheme(),
        name(dtype),
    );
    table.traffic(
        &row,
        LAYERS * 2 * elements * DType::from(dtype).size(),
        || {
            let weights = std::iter::repeat_n(&*layer, LAYERS).flatten();
            let rounded = weights.map(|weight| quantizer.forward(weight.clone(), 1));
            rounded.reduce(|_, last| last).expect("there are layers")
        },
    );
}
