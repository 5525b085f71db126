//! Bytes against values, all of them.

use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::codec::e2m1;
use crate::codec::e8m0;

const SCHEME: Fp4Scheme = Fp4Scheme::mxfp4();

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn golden_block() {
    let half = [0.0, -0.0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 6.0];
    let negative = [-0.25, -0.75, -1.25, -1.75, -2.5, -3.5, -5.0, -6.0];
    let small = [
        0.1, 0.3, 0.6, 0.9, 1.1, 1.4, 1.6, 1.9, 2.2, 2.8, 3.2, 3.9, 4.9, 5.1,
    ];
    let values = half.into_iter().chain(negative).chain(small);
    let values: Vec<bf16> = values.map(bf16::from_f32).collect();
    let packed = PackedFp4::quantize(&values, &[32], 0, SCHEME).unwrap();
    assert_eq!(packed.scales(), [127]);
    assert_eq!(
        packed.codes(),
        [
            0x80, 0x20, 0x42, 0x64, 0x76, 0xa8, 0xca, 0xec, //
            0xfe, 0x10, 0x21, 0x32, 0x43, 0x54, 0x65, 0x76,
        ]
    );
}

#[test]
fn every_code_with_every_scale_byte() {
    let codes: Vec<u8> = (0..256 * 16).map(|i| i as u8).collect();
    let scales: Vec<u8> = (0..=255).collect();
    let packed = PackedFp4::from_parts(SCHEME, vec![256, 32], &codes, &scales).unwrap();
    let values = packed.dequantize();
    let mut narrow = vec![bf16::ZERO; values.len()];
    packed.dequantize_along(1, &mut narrow).unwrap();
    for (i, (&value, &narrow)) in values.iter().zip(&narrow).enumerate() {
        let code = codes[i / 2] >> (4 * (i % 2)) & 0xf;
        let wanted = e2m1::decode(code) * e8m0::decode(scales[i / 32]);
        assert!(value.to_bits() == wanted.to_bits() || (value.is_nan() && wanted.is_nan()));
        assert!(
            narrow.to_f32().to_bits() == value.to_bits() || (narrow.is_nan() && value.is_nan())
        );
    }
}

/// 16 codes cover a block twice; with 6 in it, scale bytes 0..=252 must come back unchanged (253
/// overflows f32 at 4 and 6).
#[test]
fn representable_blocks_come_back_byte_for_byte() {
    let codes: Vec<u8> = [0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe].repeat(2 * 253);
    let scales: Vec<u8> = (0..=252).collect();
    let packed = PackedFp4::from_parts(SCHEME, vec![253, 32], codes, scales).unwrap();
    let again = PackedFp4::quantize(&packed.dequantize(), &[253, 32], 1, SCHEME).unwrap();
    assert_eq!(again, packed);
}

#[test]
fn zero_blocks_have_scale_byte_zero_and_keep_their_signs() {
    let mut values = [0.0f32; 32];
    values[3] = -0.0;
    let packed = PackedFp4::quantize(&values, &[32], 0, SCHEME).unwrap();
    assert_eq!(packed.scales(), [0]);
    assert_eq!(packed.codes()[..2], [0x00, 0x80]);
    assert_eq!(bits(&packed.dequantize()), bits(&values));
}

#[test]
fn non_finite_values_are_named() {
    for (shape, axis) in [([2, 64], 1), ([64, 2], 0)] {
        let mut values = [1.0f32; 128];
        values[77] = f32::NEG_INFINITY;
        values[99] = f32::NAN;
        let error = PackedFp4::quantize(&values, &shape, axis, SCHEME).unwrap_err();
        let (index, value) = (77, f32::NEG_INFINITY);
        assert_eq!(error, Fp4Error::NonFinite { index, value });
    }
}

#[test]
fn packing_into_given_memory_checks_its_length() {
    let values = [0.7f32; 128];
    let quantizer = crate::SliceQuantizer::new(Fp4Scheme::nvfp4());
    let wanted = quantizer.quantize(&values, &[64, 2], 0).unwrap();
    let (mut codes, mut scales) = (vec![0xff; 64], vec![0xff; 8]);
    let global = quantizer.quantize_into(&values, &[64, 2], 0, &mut codes, &mut scales);
    assert_eq!(
        (codes.as_slice(), scales.as_slice()),
        (wanted.codes(), wanted.scales())
    );
    assert_eq!(global.unwrap(), wanted.global_scales());
    let short = quantizer.quantize_into(&values, &[64, 2], 0, &mut codes[1..], &mut scales);
    assert!(matches!(
        short,
        Err(Fp4Error::CodesLength { expected: 64, .. })
    ));
    let short = quantizer.quantize_into(&values, &[64, 2], 0, &mut codes, &mut scales[1..]);
    assert!(matches!(
        short,
        Err(Fp4Error::ScalesLength { expected: 8, .. })
    ));
}

#[test]
fn parts_are_checked() {
    let parts = |shape: &[usize], codes: usize, scales: usize| {
        PackedFp4::from_parts(SCHEME, shape.to_vec(), vec![0; codes], vec![0; scales])
    };
    assert!(parts(&[2, 64], 64, 4).is_ok());
    assert!(matches!(
        parts(&[2, 64], 63, 4),
        Err(Fp4Error::CodesLength { expected: 64, .. })
    ));
    assert!(matches!(
        parts(&[2, 64], 64, 5),
        Err(Fp4Error::ScalesLength { expected: 4, .. })
    ));
    assert!(matches!(
        parts(&[2, 48], 48, 3),
        Err(Fp4Error::BlockSize { length: 48, .. })
    ));
    assert!(matches!(parts(&[], 0, 0), Err(Fp4Error::Axis { .. })));
    let packed = parts(&[2, 64], 64, 4).unwrap();
    assert!(packed.dequantize_along(2, &mut [0.0f32; 128]).is_err());
    assert!(packed.dequantize_along(0, &mut [0.0f32; 127]).is_err());
    assert_eq!(packed.view().shape(), [2, 64]);
}

proptest! {
    #[test]
    fn moving_the_axis_there_and_back(
        outer in 1usize..3,
        blocks in 1usize..7,
        inner in 1usize..150,
        seed in any::<u32>(),
    ) {
        let len = 32 * blocks;
        let n_elements = outer * len * inner;
        let value = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) ^ seed) as f32 / 1e9 - 2.0;
        let values: Vec<bf16> = (0..n_elements).map(|i| bf16::from_f32(value(i))).collect();
        let shape = [outer, len, inner];
        let packed = PackedFp4::quantize(&values, &shape, 1, SCHEME).unwrap();
        prop_assert_eq!(packed.shape(), [outer, inner, len]);

        let mut back = vec![bf16::ZERO; n_elements];
        packed.dequantize_along(1, &mut back).unwrap();
        prop_assert_eq!(&back, &crate::fake_quantize_slice(&values, &shape, 1, &SCHEME).unwrap());

        let logical = packed.dequantize();
        let again = PackedFp4::quantize(&logical, packed.shape(), 2, SCHEME).unwrap();
        prop_assert_eq!(bits(&again.dequantize()), bits(&logical));
        for (i, x) in back.iter().enumerate() {
            let (o, l, c) = (i / inner / len, i / inner % len, i % inner);
            prop_assert_eq!(x.to_f32().to_bits(), logical[(o * inner + c) * len + l].to_bits());
        }
    }
}
