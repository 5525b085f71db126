//! FP4 against golden vectors computed outside this workspace, see `golden/README.md`.
//!
//! Every key of the three files is compared, or listed by name as a rule that is not offered, with the
//! reason. An unknown key, a key left over or a missing file fails. Sizes come from the files, and so
//! do the blocks in which a package leaves its rule: they are predicates of the block.
//! `GOLDEN_DIR` points to another directory with the same keys.

#![allow(clippy::unwrap_used)]

mod data;
mod mxfp4;
mod non_finite;
mod nvfp4;
mod oracle;
mod published;
mod training;

use burn_fp4::{e2m1, e4m3, e8m0};
use data::{Case, Golden, assert_bits, numbers, read};
use safetensors::Dtype;

/// Rules that are not offered, and why.
const NOT_OFFERED: [&str; 6] = [
    // ceil(log2(amax)) - 2: never uses the codes 5 to 7 and loses a bit.
    "mx.ao_ceil.packed",
    "mx.ao_ceil.scale",
    // No global scale: small tensors underflow E4M3.
    "nv.ao1.packed",
    "nv.ao1.scale_e4m3",
    // Block scales not below 2^-6, and multiplication with a rounded reciprocal.
    "nv.ao2.packed",
    "nv.ao2.scale_e4m3",
];

#[test]
fn every_case_equals_the_golden_vectors_bit_for_bit() {
    let bytes = read("fp4.safetensors");
    let mut golden = Golden::new(&bytes);
    for name in golden.cases(".x") {
        let case = Case::read(&mut golden, &name);
        mxfp4::check(&mut golden, &case);
        nvfp4::check(&mut golden, &case);
        golden.leave(&name, &NOT_OFFERED);
    }
    golden.finish();
}

#[test]
fn training_sees_what_packing_stores() {
    let bytes = read("fp4.safetensors");
    let mut golden = Golden::new(&bytes);
    for name in golden.cases(".x") {
        let case = Case::read(&mut golden, &name);
        training::check(&case);
    }
}

#[test]
fn values_that_are_not_finite() {
    let bytes = read("fp4_nonfinite.safetensors");
    let mut golden = Golden::new(&bytes);
    for name in golden.cases(".x") {
        let case = Case::read(&mut golden, &name);
        non_finite::check(&case);
        golden.leave(&name, &non_finite::ELSEWHERE);
    }
    golden.finish();
}

#[test]
fn code_tables() {
    let bytes = read("code_tables.safetensors");
    let mut golden = Golden::new(&bytes);

    let (_, wanted) = golden.f32("e2m1.values");
    let decoded: Vec<f32> = (0..16).map(e2m1::decode).collect();
    assert_bits(&decoded, &wanted, "e2m1");
    for (code, &value) in wanted.iter().enumerate() {
        assert_eq!(usize::from(e2m1::encode(value)), code);
    }

    let (_, scales) = golden.bytes("e8m0.values_f64", Dtype::F64);
    let scales = numbers(scales, f64::from_le_bytes);
    assert_eq!(scales.len(), 256);
    for (byte, &wanted) in (0..=255).zip(&scales) {
        let found = f64::from(e8m0::decode(byte));
        assert!(
            found == wanted || (found.is_nan() && wanted.is_nan()),
            "e8m0 byte {byte}"
        );
    }

    let (_, wanted) = golden.f32("e4m3.values");
    assert_eq!(wanted.len(), 256);
    for (byte, &wanted) in (0..=255).zip(&wanted) {
        let found = e4m3::decode(byte);
        if wanted.is_nan() {
            assert!(found.is_nan(), "e4m3 byte {byte}");
        } else {
            assert_bits(&[found], &[wanted], "e4m3");
            assert_eq!(e4m3::encode(wanted), byte);
        }
    }
    golden.finish();
}
