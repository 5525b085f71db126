//! Products with the matrices of experts by kernels, on every runtime there is, against sums in `f64`.
//!
//! With `u = 2^-24` and `n` terms the bound is `n * u / (1 - n * u)` times the sum of their magnitudes; where a
//! result is not `f32`, half a unit in the last place for each rounding on the way.
#![allow(clippy::unwrap_used)]

mod case;
mod check;
mod merge;
mod reference;
mod routing;
mod tensors;

use burn::tensor::DType;
use burn_fp4::{Fp4Scheme, GlobalScope};
use case::{Case, Inputs, Matrices, small, wide};
use check::check;
use kernel_harness::runtimes::{TestRuntime, runtimes};

/// The dtypes a runtime computes with.
fn dtypes(runtime: &TestRuntime) -> &'static [DType] {
    match runtime.name {
        "cuda" => &[DType::F32, DType::BF16, DType::F16],
        _ => &[DType::F32],
    }
}

fn schemes() -> [Fp4Scheme; 3] {
    let per_expert = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);
    [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4(), per_expert]
}

fn for_all(cases: fn() -> Vec<Case>, run: impl Fn(&TestRuntime, &Case, DType, &mut f64) -> usize) {
    for runtime in runtimes() {
        let (mut n_checks, mut largest) = (0, 0.0);
        for case in cases() {
            for &dtype in dtypes(&runtime) {
                n_checks += run(&runtime, &case, dtype, &mut largest);
            }
        }
        println!(
            "{}: {n_checks} checks, {largest:.3} of the bound",
            runtime.name
        );
    }
}

#[test]
fn dense_products_are_within_the_rounding_of_f32_sums() {
    for_all(small, |runtime, case, dtype, largest| {
        let inputs = Inputs::new(case, dtype, Matrices::Dense);
        check(runtime, case, &inputs, largest)
    });
}

#[test]
fn packed_products_are_within_the_rounding_of_f32_sums() {
    for_all(small, |runtime, case, dtype, largest| {
        let mut n_checks = 0;
        for scheme in schemes() {
            if case.d_input.is_multiple_of(scheme.block_size()) {
                let inputs = Inputs::new(case, dtype, Matrices::Packed(scheme));
                n_checks += check(runtime, case, &inputs, largest);
            }
        }
        n_checks
    });
}

/// Several tiles along every axis, of sizes that tensor cores take.
#[test]
fn wide_products_are_within_the_rounding_of_f32_sums() {
    for_all(wide, |runtime, case, dtype, largest| {
        if runtime.name != "cuda" {
            return 0;
        }
        let mut n_checks = 0;
        for matrices in [
            Matrices::Dense,
            Matrices::Packed(Fp4Scheme::mxfp4()),
            Matrices::Packed(schemes()[2]),
        ] {
            n_checks += check(runtime, case, &Inputs::new(case, dtype, matrices), largest);
        }
        n_checks
    });
}
