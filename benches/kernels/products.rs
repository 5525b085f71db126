//! Products with packed weights on the device that `BURN_DEVICE` names.
//!
//! Few rows are bound by memory: the floor is one read of the packed weights that are used, and a copy
//! runs beside them. Weights take turns, so that none is found in a cache. Many rows are bound by
//! arithmetic: the floor is two FLOPs per multiply-add, and Burn's product with dense weights of the
//! same dtype runs beside them.

use std::cell::{Cell, LazyCell};

use burn::tensor::{FloatDType, Int, Tensor};
use burn_fp4::{Fp4Scheme, Fp4Tensor, PackedFp4, fp4_expert_linear, fp4_linear};

use crate::device::{Target, name};
use crate::device_table::{BYTES, Table, Unit};

/// `[out, in]` of the experts of gpt-oss-20b.
const WEIGHTS: [[usize; 2]; 2] = [[5760, 2880], [2880, 2880]];

/// Arithmetic, beside a product of Burn.
const FLOPS: Unit = Unit {
    floor: ("GFLOP", 1e9),
    rate: ("TFLOP/s", 1e12),
    reference: "dense product",
};

pub fn run(target: &Target) {
    let cases = || {
        let schemes = [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4()];
        let cases = schemes.map(|scheme| WEIGHTS.map(|shape| (scheme, shape)));
        let dtypes = target.dtypes().into_iter();
        dtypes.flat_map(move |dtype| cases.into_iter().flatten().map(move |case| (dtype, case)))
    };
    let table = Table::new(target, BYTES);
    for (dtype, (scheme, shape)) in cases() {
        few_rows(&table, target, dtype, scheme, shape);
        few_experts(&table, target, dtype, scheme, shape);
    }
    println!();
    let table = Table::new(target, FLOPS);
    for (dtype, (scheme, shape)) in cases() {
        many_rows(&table, target, dtype, scheme, shape);
        many_experts(&table, target, dtype, scheme, shape);
    }
}

fn few_rows(
    table: &Table<'_>,
    target: &Target,
    dtype: FloatDType,
    scheme: Fp4Scheme,
    shape: [usize; 2],
) {
    let [_, d_input] = shape;
    let weights = LazyCell::new(|| {
        let weight = |_| pack(target.random(shape, dtype), &scheme);
        (0..target.experts(4)).map(weight).collect::<Vec<_>>()
    });
    let turn = Turn::default();
    for n_rows in [1, 4, 16] {
        let x = LazyCell::new(|| target.random([n_rows, d_input], dtype));
        let row = row("fp4_linear", scheme, dtype, n_rows, &shape);
        table.traffic(&row, packed_bytes(&shape, &scheme), || {
            fp4_linear(x.clone(), turn.next(&weights), None)
        });
    }
}

/// One token of gpt-oss: four experts, a row each.
fn few_experts(
    table: &Table<'_>,
    target: &Target,
    dtype: FloatDType,
    scheme: Fp4Scheme,
    [d_output, d_input]: [usize; 2],
) {
    const USED: usize = 4;
    let n_experts = target.experts(2 * USED);
    let shape = [n_experts, d_output, d_input];
    let weight = LazyCell::new(|| pack_experts(target, shape, scheme));
    let x = LazyCell::new(|| target.random([USED, d_input], dtype));
    let stride = n_experts / USED;
    let routes = LazyCell::new(|| {
        let route = |first| {
            let experts = Tensor::<1, Int>::arange(0..USED as i64, &target.device);
            experts.mul_scalar(stride as i64).add_scalar(first as i64)
        };
        (0..stride).map(route).collect::<Vec<_>>()
    });
    let turn = Turn::default();
    let row = row("fp4_expert_linear", scheme, dtype, USED, &shape);
    let bytes = USED * packed_bytes(&[d_output, d_input], &scheme);
    table.traffic(&row, bytes, || {
        fp4_expert_linear(x.clone(), turn.next(&routes).clone(), &weight)
    });
}

fn many_rows(
    table: &Table<'_>,
    target: &Target,
    dtype: FloatDType,
    scheme: Fp4Scheme,
    shape: [usize; 2],
) {
    let [d_output, d_input] = shape;
    let packed = LazyCell::new(|| pack(target.random(shape, dtype), &scheme));
    let dense = LazyCell::new(|| target.random([d_input, d_output], dtype));
    let counts: &[usize] = if target.large { &[512, 4096] } else { &[64] };
    for &n_rows in counts {
        let x = LazyCell::new(|| target.random([n_rows, d_input], dtype));
        let row = row("fp4_linear", scheme, dtype, n_rows, &shape);
        let flops = (2 * n_rows * d_input * d_output) as f64;
        let product = || x.clone().matmul(dense.clone());
        let product = target.has_products().then_some(product);
        table.row(&row, flops, product, flops, || {
            fp4_linear(x.clone(), &packed, None)
        });
    }
}

/// The dense product is batched, and its rows lie sorted by expert; here they come in turns.
fn many_experts(
    table: &Table<'_>,
    target: &Target,
    dtype: FloatDType,
    scheme: Fp4Scheme,
    [d_output, d_input]: [usize; 2],
) {
    let n_experts = target.experts(2);
    let n_rows = if target.large { 2048 } else { 64 };
    let shape = [n_experts, d_output, d_input];
    let packed = LazyCell::new(|| pack_experts(target, shape, scheme));
    let dense = LazyCell::new(|| target.random([n_experts, d_input, d_output], dtype));
    let x = LazyCell::new(|| target.random([n_rows, d_input], dtype));
    let sorted = LazyCell::new(|| x.clone().reshape([n_experts, n_rows / n_experts, d_input]));
    let experts = LazyCell::new(|| {
        let rows = Tensor::<1, Int>::arange(0..n_rows as i64, &target.device);
        rows.remainder_scalar(n_experts as i64)
    });
    let row = row("fp4_expert_linear", scheme, dtype, n_rows, &shape);
    let flops = (2 * n_rows * d_input * d_output) as f64;
    let product = || sorted.clone().matmul(dense.clone());
    let product = target.has_products().then_some(product);
    table.row(&row, flops, product, flops, || {
        fp4_expert_linear(x.clone(), experts.clone(), &packed)
    });
}

/// Goes round the elements of a slice.
#[derive(Default)]
pub struct Turn(Cell<usize>);

impl Turn {
    pub fn next<'a, T>(&self, of: &'a [T]) -> &'a T {
        let turn = self.0.get();
        self.0.set(turn + 1);
        &of[turn % of.len()]
    }
}

fn pack(weight: Tensor<2>, scheme: &Fp4Scheme) -> Fp4Tensor<2> {
    Fp4Tensor::quantize(weight, 1, scheme)
}

/// The same expert in other places: not every device takes all of them dense in one buffer.
fn pack_experts(target: &Target, shape: [usize; 3], scheme: Fp4Scheme) -> Fp4Tensor<3> {
    let [n_experts, d_output, d_input] = shape;
    let weight = target.random([d_output, d_input], FloatDType::F32);
    let expert = pack(weight, &scheme).to_packed().expect("the device works");
    let global_scales = expert.global_scales().to_vec();
    let [codes, scales] = <[_; 2]>::from(expert.into_parts()).map(|bytes| bytes.repeat(n_experts));
    let shape = shape.to_vec();
    let experts = PackedFp4::from_parts_with_global(scheme, shape, codes, scales, global_scales);
    let experts = experts.expect("bytes per expert");
    Fp4Tensor::from_packed(experts, &target.device).expect("three axes")
}

fn packed_bytes(shape: &[usize], scheme: &Fp4Scheme) -> usize {
    let elements: usize = shape.iter().product();
    elements / 2 + elements / scheme.block_size()
}

fn row(
    operation: &str,
    scheme: Fp4Scheme,
    dtype: FloatDType,
    n_rows: usize,
    weight: &[usize],
) -> String {
    let dtype = name(dtype);
    format!("{operation} | {scheme} | {dtype} | {n_rows} rows, {weight:?}")
}
