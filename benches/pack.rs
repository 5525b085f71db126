//! Packing, unpacking and the cast of MXFP4 to NVFP4, beside the copy.
//!
//! Floors: packing reads the tensor (NVFP4 twice, once for its largest magnitude) and writes half a
//! byte per element and one scale byte per block; unpacking reads these and writes the tensor; the
//! cast reads and writes packed bytes. `pack fresh` and the cast allocate their results and pay for the
//! page faults, `pack into` has its memory. Goal: 50 % of the copy rate.
//!
//! `cargo bench --bench pack [-- FILTER]`

#![allow(clippy::unwrap_used)]

#[path = "support/cases.rs"]
mod cases;
#[path = "support/table.rs"]
mod table;

use std::hint::black_box;

use burn_fp4::{Fp4Scheme, GlobalScope, PackedFp4, SliceQuantizer};
use half::bf16;

use cases::{CASES, Case, Float, copy};
use table::{Table, Work};

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let table = Table::new(
        "Packing",
        "Floor: every byte of the input read once (NVFP4 packing: twice), of the output written once.",
    );
    for case in &CASES {
        measure::<f32>(&table, case);
        measure::<bf16>(&table, case);
        cast(&table, case);
    }
}

fn measure<T: Float>(table: &Table, case: &Case) {
    let values = case.values::<T>();
    let tensor_bytes = size_of_val(values.as_slice());
    let mut copied = values.clone();
    let mut out = values.clone();
    let mut floor_copy = || copy(black_box(&values), &mut copied);
    for scheme in [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4()] {
        let name = |operation| format!("{operation} | {scheme} | {} | {}", T::NAME, case.name);
        let reads = match scheme {
            Fp4Scheme::Mxfp4 { .. } => 1,
            _ => 2,
        };
        let pack =
            || PackedFp4::quantize(black_box(&values), case.shape, case.axis, scheme).unwrap();
        let packed = pack();
        let packed_bytes = packed.codes().len() + packed.scales().len();
        let work = Work {
            bytes: reads * tensor_bytes + packed_bytes,
            run: &mut || drop(black_box(pack())),
        };
        let beside = Work {
            bytes: 2 * tensor_bytes,
            run: &mut floor_copy,
        };
        table.row(&name("pack fresh"), case.n_elements(), beside, work);
        let quantizer = SliceQuantizer::new(scheme);
        let (mut codes, mut scales) = packed.clone().into_parts();
        let work = Work {
            bytes: reads * tensor_bytes + packed_bytes,
            run: &mut || {
                let values = black_box(&values);
                let packed =
                    quantizer.quantize_into(values, case.shape, case.axis, &mut codes, &mut scales);
                black_box(packed.unwrap());
            },
        };
        let beside = Work {
            bytes: 2 * tensor_bytes,
            run: &mut floor_copy,
        };
        table.row(&name("pack into"), case.n_elements(), beside, work);
        let work = Work {
            bytes: tensor_bytes + packed_bytes,
            run: &mut || packed.dequantize_along(case.axis, &mut out).unwrap(),
        };
        let beside = Work {
            bytes: 2 * tensor_bytes,
            run: &mut floor_copy,
        };
        table.row(&name("unpack"), case.n_elements(), beside, work);
    }
}

fn cast(table: &Table, case: &Case) {
    let values = case.values::<bf16>();
    let packed = PackedFp4::quantize(&values, case.shape, case.axis, Fp4Scheme::mxfp4()).unwrap();
    drop(values);
    let read = packed.codes().len() + packed.scales().len();
    // NVFP4 has two scale bytes where MXFP4 has one.
    let work = Work {
        bytes: 2 * read + packed.scales().len(),
        run: &mut || {
            drop(black_box(
                packed.cast_to_nvfp4(GlobalScope::Tensor).unwrap(),
            ))
        },
    };
    let fresh_copy = Work {
        bytes: 2 * packed.codes().len(),
        run: &mut || {
            let mut out = f32::allocate(packed.codes().len() / 4);
            copy_bytes(packed.codes(), bytemuck::cast_slice_mut(&mut out));
            black_box(out);
        },
    };
    let name = format!(
        "cast | {} to NVFP4 | bytes | {}",
        packed.scheme(),
        case.name
    );
    table.row(&name, case.n_elements(), fresh_copy, work);
}

fn copy_bytes(from: &[u8], to: &mut [u8]) {
    use rayon::prelude::*;

    const CHUNK: usize = 1 << 17;
    let chunks = from.par_chunks(CHUNK).zip(to.par_chunks_mut(CHUNK));
    chunks.for_each(|(from, to)| to.copy_from_slice(from));
}
