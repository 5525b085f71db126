//! The bytes and tables of docs/formats.md.

#![allow(missing_docs, clippy::unwrap_used)]

use burn_fp4::{Fp4Scheme, GlobalAmax, Nvfp4ScaleRule, PackedFp4, ScaleRule, SliceQuantizer, e4m3};
use half::bf16;

fn narrow(values: &[f32]) -> Vec<bf16> {
    values.iter().copied().map(bf16::from_f32).collect()
}

#[test]
fn mxfp4_block_under_every_rule() {
    let values = narrow(&[
        0.0, -0.0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 6.0, -0.25, -0.75, -1.25, -1.75, -2.5,
        -3.5, -5.0, -6.0, 0.1, 0.3, 0.6, 0.9, 1.1, 1.4, 1.6, 1.9, 2.2, 2.8, 3.2, 3.9, 4.9, 5.1,
    ]);
    let mut codes = [
        0x80, 0x20, 0x42, 0x64, 0x76, 0xa8, 0xca, 0xec, //
        0xfe, 0x10, 0x21, 0x32, 0x43, 0x54, 0x65, 0x76,
    ];
    let rules = [
        ScaleRule::Ceil,
        ScaleRule::Floor,
        ScaleRule::Even,
        ScaleRule::Mse,
    ];
    for rule in rules {
        let scheme = Fp4Scheme::mxfp4_with(rule);
        let packed = PackedFp4::quantize(&values, &[32], 0, scheme).unwrap();
        assert_eq!(packed.scales(), [127], "{rule}");
        assert_eq!(packed.codes(), codes, "{rule}");
    }
    // Block scale 1 in NVFP4: the same codes but for -0.
    let amax = GlobalAmax::Frozen(vec![2688.0]);
    let quantizer = SliceQuantizer::new(Fp4Scheme::nvfp4_block32()).with_global_amax(amax);
    let packed = quantizer.quantize(&values, &[32], 0).unwrap();
    codes[0] = 0;
    assert_eq!(
        (packed.scales(), packed.codes()),
        (&[e4m3::ONE][..], &codes[..])
    );
}

#[test]
fn mxfp4_scale_bytes() {
    let rows = [
        (1.5, [125, 125, 125], [1.5, 1.5, 1.5]),
        (1.507_812_5, [126, 125, 125], [1.5, 1.5, 1.5]),
        (1.75, [126, 125, 126], [2.0, 1.5, 2.0]),
        (6.0, [127, 127, 127], [6.0, 6.0, 6.0]),
        (6.031_25, [128, 127, 127], [6.0, 6.0, 6.0]),
        (7.0, [128, 127, 128], [8.0, 6.0, 8.0]),
        (7.5, [128, 127, 128], [8.0, 6.0, 8.0f32]),
    ];
    for (amax, bytes, values) in rows {
        let rules = [ScaleRule::Ceil, ScaleRule::Floor, ScaleRule::Even];
        for ((rule, byte), value) in rules.into_iter().zip(bytes).zip(values) {
            let scheme = Fp4Scheme::mxfp4_with(rule);
            let packed = PackedFp4::quantize(&[amax; 32], &[32], 0, scheme).unwrap();
            assert_eq!(packed.scales(), [byte], "{amax} {rule}");
            assert_eq!(packed.dequantize(), [value; 32], "{amax} {rule}");
        }
    }
}

#[test]
fn nvfp4_block() {
    let values = narrow(&[
        0.01, -0.02, 0.03, 0.04, -0.05, 0.06, 0.07, -0.08, 0.09, 0.10, 0.11, -0.12, 0.13, 0.14,
        0.15, -0.16,
    ]);
    let amax = GlobalAmax::Frozen(vec![1.0]);
    let quantizer = SliceQuantizer::new(Fp4Scheme::nvfp4()).with_global_amax(amax);
    let packed = quantizer.quantize(&values, &[16], 0).unwrap();
    assert_eq!(packed.global_scales()[0].to_bits(), 0x39c3_0c31);
    assert_eq!(packed.scales(), [0x69]);
    assert_eq!(
        packed.codes(),
        [0x91, 0x32, 0x4c, 0xd5, 0x65, 0xe6, 0x76, 0xf7]
    );
    assert_eq!(packed.dequantize()[2], 72.0 * packed.global_scales()[0]);
}

#[test]
fn special_cases() {
    let mx = |values: &[f32], rule| {
        PackedFp4::quantize(values, &[32], 0, Fp4Scheme::mxfp4_with(rule)).unwrap()
    };
    // Exactly half of the smallest step is a tie and goes to zero.
    let tiny = mx(
        &[2f32.powi(-129), 2f32.powi(-129).next_up()].repeat(16),
        ScaleRule::Ceil,
    );
    assert_eq!((tiny.scales(), tiny.codes()[0]), (&[0][..], 0x10));
    let top = [
        (ScaleRule::Ceil, 253, f32::INFINITY),
        (ScaleRule::Floor, 252, 6.0 * 2f32.powi(125)),
    ];
    for (rule, byte, value) in top {
        let largest = mx(&[f32::MAX; 32], rule);
        assert_eq!(
            (largest.scales(), largest.dequantize()[0]),
            (&[byte][..], value)
        );
    }
    for (byte, first_infinite) in [(252, 8), (253, 6), (254, 4)] {
        let codes = [0x10, 0x32, 0x54, 0x76].repeat(4);
        let packed =
            PackedFp4::from_parts(Fp4Scheme::mxfp4(), vec![32], codes, vec![byte]).unwrap();
        let infinite = packed.dequantize()[..8]
            .iter()
            .position(|x| x.is_infinite());
        assert_eq!(infinite.unwrap_or(8), first_infinite);
    }

    let nv = |values: &[f32]| PackedFp4::quantize(values, &[2, 16], 1, Fp4Scheme::nvfp4()).unwrap();
    let zeros = nv(&[0.0; 32]);
    assert_eq!(
        (zeros.scales(), zeros.global_scales()),
        (&[0x38, 0x38][..], &[0.0][..])
    );
    assert_eq!(zeros.dequantize(), [0.0; 32]);
    let mut values = [0.0f32; 32];
    (values[0], values[16], values[17]) = (2688.0, 2f32.powi(-11), 2f32.powi(-11).next_up());
    let packed = nv(&values);
    assert_eq!(
        (packed.scales(), packed.codes()[8]),
        (&[0x7e, 0x01][..], 0x10)
    );
    assert_eq!(Nvfp4ScaleRule::Nearest.global_scale(1e-44).to_bits(), 1);
}

#[test]
fn mxfp4_values_survive_every_rule() {
    let rules = [
        ScaleRule::Ceil,
        ScaleRule::Floor,
        ScaleRule::Even,
        ScaleRule::Mse,
    ];
    for (byte, largest) in (0..=252u8).flat_map(|byte| (0..8u8).map(move |code| (byte, code))) {
        let codes = (0..16).map(|i| (i % (largest + 1)) | (8 | (largest - i % (largest + 1))) << 4);
        let (shape, codes) = (vec![32], codes.collect());
        let packed = PackedFp4::from_parts(Fp4Scheme::mxfp4(), shape, codes, vec![byte]).unwrap();
        let values = packed.dequantize();
        for rule in rules {
            let scheme = Fp4Scheme::mxfp4_with(rule);
            let again = PackedFp4::quantize(&values, &[32], 0, scheme).unwrap();
            assert_eq!(again.dequantize(), values, "{byte} {largest} {rule}");
            assert!(
                largest < 6 || again.scales() == [byte],
                "{byte} {largest} {rule}"
            );
        }
    }
}
