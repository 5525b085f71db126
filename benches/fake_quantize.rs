//! Fake quantization beside the copy of the same bytes.
//!
//! MXFP4 reads every byte once and writes every byte once, so the copy is its floor; NVFP4 reads once
//! more to find the largest magnitude of the tensor. `into` writes to memory that exists, `fresh`
//! allocates its result as the tensor operation does and pays for the page faults, like the copy
//! beside it. Goals as a share of the copy rate: 60 % in f32, 40 % in bf16.
//!
//! `cargo bench --bench fake_quantize [-- FILTER]`

#![allow(clippy::unwrap_used)]

#[path = "support/cases.rs"]
mod cases;
#[path = "support/table.rs"]
mod table;

use std::hint::black_box;

use burn_fp4::{Fp4Scheme, Nvfp4ScaleRule, ScaleRule, fake_quantize_into, fake_quantize_slice};
use half::bf16;

use cases::{CASES, Case, Float, copy};
use table::{Table, Work};

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let table = Table::new(
        "Fake quantization",
        "Floor: one read and one write of the tensor; NVFP4 one more read.",
    );
    for case in &CASES {
        measure::<f32>(&table, case);
        measure::<bf16>(&table, case);
    }
    searches(&table, &CASES[0]);
}

/// Bytes that have to be moved for a tensor of this size.
fn floor(scheme: &Fp4Scheme, tensor_bytes: usize) -> usize {
    match scheme {
        Fp4Scheme::Mxfp4 { .. } => 2 * tensor_bytes,
        _ => 3 * tensor_bytes,
    }
}

fn measure<T: Float>(table: &Table, case: &Case) {
    let values = case.values::<T>();
    let tensor_bytes = size_of_val(values.as_slice());
    let mut copied = values.clone();
    let mut out = values.clone();
    for scheme in [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4()] {
        let name = |operation| format!("{operation} | {scheme} | {} | {}", T::NAME, case.name);
        let work = Work {
            bytes: floor(&scheme, tensor_bytes),
            run: &mut || {
                fake_quantize_into(black_box(&values), case.shape, case.axis, &scheme, &mut out)
                    .unwrap();
            },
        };
        let floor_copy = Work {
            bytes: 2 * tensor_bytes,
            run: &mut || copy(black_box(&values), &mut copied),
        };
        table.row(&name("into"), case.n_elements(), floor_copy, work);
        let work = Work {
            bytes: floor(&scheme, tensor_bytes),
            run: &mut || {
                let out = fake_quantize_slice(black_box(&values), case.shape, case.axis, &scheme);
                black_box(out.unwrap());
            },
        };
        let fresh_copy = Work {
            bytes: 2 * tensor_bytes,
            run: &mut || {
                let mut out = T::allocate(values.len());
                copy(black_box(&values), &mut out);
                black_box(out);
            },
        };
        table.row(&name("fresh"), case.n_elements(), fresh_copy, work);
    }
}

/// The rules that try several scales are bound by arithmetic.
fn searches(table: &Table, case: &Case) {
    let values = case.values::<f32>();
    let tensor_bytes = size_of_val(values.as_slice());
    let mut copied = values.clone();
    let mut out = values.clone();
    let schemes = [
        Fp4Scheme::mxfp4_with(ScaleRule::Mse),
        Fp4Scheme::nvfp4_with(Nvfp4ScaleRule::FourOverSix),
        Fp4Scheme::nvfp4_with(Nvfp4ScaleRule::Mse),
    ];
    for scheme in schemes {
        let work = Work {
            bytes: floor(&scheme, tensor_bytes),
            run: &mut || {
                fake_quantize_into(black_box(&values), case.shape, case.axis, &scheme, &mut out)
                    .unwrap();
            },
        };
        let floor_copy = Work {
            bytes: 2 * tensor_bytes,
            run: &mut || copy(black_box(&values), &mut copied),
        };
        let name = format!("into | {scheme} | f32 | {}", case.name);
        table.row(&name, case.n_elements(), floor_copy, work);
    }
}
