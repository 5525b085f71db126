//! Typed errors for what cannot be quantized, before anything is computed.

use crate::codec::fake_quantize::fake_quantize_slice;
use crate::codec::non_finite::NonFinite;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::error::Fp4Error;
use crate::packed::PackedFp4;
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::{GlobalAmax, GlobalScope};

use super::inputs::schemes;

fn frozen(scheme: Fp4Scheme, amax: &[f32]) -> SliceQuantizer {
    SliceQuantizer::new(scheme).with_global_amax(GlobalAmax::Frozen(amax.to_vec()))
}

#[test]
fn frozen_magnitudes_must_fit_the_scheme() {
    let values = [1f32; 96];
    let shape = [3, 32];
    let experts = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);
    for (scheme, amax, expected) in [
        (Fp4Scheme::nvfp4(), vec![], 1),
        (Fp4Scheme::nvfp4(), vec![1.0, 2.0], 1),
        (experts, vec![1.0], 3),
        (experts, vec![1.0, 2.0], 3),
        (experts, vec![1.0; 4], 3),
    ] {
        let found = amax.len();
        let wanted = Fp4Error::GlobalScales { expected, found };
        let quantizer = frozen(scheme, &amax);
        assert_eq!(quantizer.quantize(&values, &shape, 1).unwrap_err(), wanted);
        assert_eq!(
            quantizer.fake_quantize(&values, &shape, 1).unwrap_err(),
            wanted
        );
        let mut out = values;
        let error = quantizer.fake_quantize_into(&values, &shape, 1, &mut out);
        assert_eq!(error.unwrap_err(), wanted);
    }
    let packed = frozen(experts, &[1.0, 2.0, 0.0])
        .quantize(&values, &shape, 1)
        .unwrap();
    assert_eq!(packed.global_scales(), [1.0 / 2688.0, 2.0 / 2688.0, 0.0]);
}

#[test]
fn frozen_magnitudes_must_be_numbers() {
    for value in [
        -1.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        -f32::MIN_POSITIVE,
    ] {
        let error = frozen(Fp4Scheme::nvfp4(), &[value]).quantize(&[1f32; 16], &[16], 0);
        assert!(
            matches!(error, Err(Fp4Error::GlobalAmax { value: found }) if found.to_bits() == value.to_bits())
        );
    }
}

#[test]
fn mxfp4_ignores_frozen_magnitudes() {
    let values = super::inputs::sample(64);
    let scheme = Fp4Scheme::mxfp4();
    let packed = frozen(scheme, &[f32::NAN, 1.0])
        .quantize(&values, &[64], 0)
        .unwrap();
    assert_eq!(
        packed,
        PackedFp4::quantize(&values, &[64], 0, scheme).unwrap()
    );
}

#[test]
fn experts_are_not_the_block_axis() {
    let experts = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);
    let error = PackedFp4::quantize(&[1f32; 32], &[16, 2], 0, experts).unwrap_err();
    assert_eq!(error, Fp4Error::ExpertAxis);
    assert_eq!(
        fake_quantize_slice(&[1f32; 32], &[16, 2], 0, &experts).unwrap_err(),
        error
    );
    assert_eq!(
        fake_quantize_slice(&[1f32; 16], &[16], 0, &experts).unwrap_err(),
        error
    );
}

#[test]
fn axes_and_lengths_are_checked_for_every_scheme() {
    for scheme in schemes() {
        let quantizer = SliceQuantizer::new(scheme);
        let values = [1f32; 128];
        let error = |shape: &[usize], axis| quantizer.quantize(&values, shape, axis).unwrap_err();
        assert!(matches!(error(&[2, 64], 2), Fp4Error::Axis { axis: 2, .. }));
        assert!(matches!(
            error(&[16, 8], 1),
            Fp4Error::BlockSize { length: 8, .. }
        ));
        assert!(matches!(
            error(&[3, 64], 1),
            Fp4Error::Length { expected: 192, .. }
        ));
        assert!(matches!(error(&[], 0), Fp4Error::Axis { .. }));
        let huge = [usize::MAX, 2, 64];
        assert!(matches!(error(&huge, 2), Fp4Error::Overflow { .. }));
        let mut out = [0f32; 64];
        let short = quantizer.fake_quantize_into(&values, &[2, 64], 1, &mut out);
        assert!(matches!(short, Err(Fp4Error::Length { what: "out", .. })));
        assert!(quantizer.amax(&values, &[3, 64]).is_err() || scheme.n_global_scales(&[3]) == 0);
    }
}

#[test]
fn empty_tensors_are_fine() {
    for scheme in schemes() {
        for shape in [[0, 64, 3], [2, 64, 0], [2, 0, 3]] {
            let quantizer = SliceQuantizer::new(scheme);
            let packed = quantizer.quantize::<f32>(&[], &shape, 1).unwrap();
            assert_eq!(
                packed.global_scales().len(),
                scheme.n_global_scales(&shape),
                "{scheme}"
            );
            assert!(packed.dequantize().is_empty());
            assert!(
                quantizer
                    .fake_quantize::<f32>(&[], &shape, 1)
                    .unwrap()
                    .is_empty()
            );
        }
    }
}

#[test]
fn the_first_value_that_is_not_finite_is_named() {
    for scheme in schemes() {
        for (shape, axis) in [([1, 2, 64], 2), ([1, 64, 2], 1)] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = [1f32; 128];
                values[77] = bad;
                values[99] = f32::NAN;
                let quantizer = SliceQuantizer::new(scheme);
                let packed = quantizer.quantize(&values, &shape, axis).unwrap_err();
                let rounded = quantizer.fake_quantize(&values, &shape, axis).unwrap_err();
                for error in [packed, rounded] {
                    let Fp4Error::NonFinite { index, value } = error else {
                        panic!("{scheme}: {error}");
                    };
                    assert_eq!((index, value.to_bits()), (77, bad.to_bits()), "{scheme}");
                }
                let saturating = quantizer.with_non_finite(NonFinite::Saturate);
                assert!(saturating.quantize(&values, &shape, axis).is_ok());
            }
        }
    }
}

#[test]
fn shapes_beyond_memory_are_refused() {
    let experts = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);
    let quantizer = SliceQuantizer::new(experts);
    let shape = [1 << (usize::BITS - 1), 2, 16];
    let wanted = Err(Fp4Error::Overflow {
        shape: shape.to_vec(),
    });
    assert_eq!(quantizer.amax::<f32>(&[], &shape), wanted);
    assert_eq!(quantizer.fake_quantize::<f32>(&[], &shape, 2), wanted);
}
