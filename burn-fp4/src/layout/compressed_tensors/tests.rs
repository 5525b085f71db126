use proptest::prelude::*;

use super::*;
use crate::codec::e2m1;
use crate::codec::e4m3;
use crate::scheme::global_scale::GlobalScope;

fn nvfp4(shape: &[usize], scope: GlobalScope, global_scales: &[f32]) -> PackedFp4 {
    let n_elements: usize = shape.iter().product();
    let codes = (0..n_elements / 2).map(|i| i as u8).collect();
    let scales = (0..n_elements / 16).map(|i| 1 + i as u8).collect();
    let scheme = Fp4Scheme::nvfp4().with_global_scope(scope);
    let shape = shape.to_vec();
    PackedFp4::from_parts_with_global(scheme, shape, codes, scales, global_scales.to_vec()).unwrap()
}

fn global(tensors: &PackQuantized) -> &StoredTensor<Vec<f32>> {
    tensors.weight_global_scale.as_ref().unwrap()
}

#[test]
fn nvfp4_stores_the_reciprocal() {
    let packed = nvfp4(&[3, 32], GlobalScope::Tensor, &[0.25]);
    let tensors = to_tensors(packed.clone()).unwrap();
    assert_eq!(tensors.format(), "nvfp4-pack-quantized");
    assert_eq!(
        tensors.weight_packed,
        StoredTensor::new([3, 16], packed.codes().to_vec())
    );
    assert_eq!(
        tensors.weight_scale,
        StoredTensor::new([3, 2], packed.scales().to_vec())
    );
    assert_eq!(global(&tensors), &StoredTensor::new([1], vec![4.0]));
    assert_eq!(from_tensors(tensors).unwrap(), packed);

    let packed = nvfp4(&[2, 3, 32], GlobalScope::Expert, &[0.25, 16.0]);
    let tensors = to_tensors(packed.clone()).unwrap();
    assert_eq!(global(&tensors), &StoredTensor::new([2], vec![4.0, 0.0625]));
    assert_eq!(from_tensors(tensors).unwrap(), packed);
}

#[test]
fn mxfp4_is_the_bytes_as_they_are() {
    let (codes, scales) = ((0..96).collect(), vec![0, 127, 1, 254, 255, 3]);
    let packed = PackedFp4::from_parts(Fp4Scheme::mxfp4(), vec![3, 64], codes, scales).unwrap();
    let tensors = to_tensors(packed.clone()).unwrap();
    assert_eq!(tensors.format(), "mxfp4-pack-quantized");
    assert_eq!(tensors.weight_packed.shape, [3, 32]);
    assert_eq!(
        tensors.weight_scale,
        StoredTensor::new([3, 2], packed.scales().to_vec())
    );
    assert_eq!(tensors.weight_global_scale, None);
    assert_eq!(from_tensors(tensors).unwrap(), packed);
}

#[test]
fn a_tensor_of_zeros_has_global_scale_one() {
    let zeros = PackedFp4::quantize(&[0.0f32; 32], &[2, 16], 1, Fp4Scheme::nvfp4()).unwrap();
    assert_eq!(zeros.global_scales(), [0.0]);
    let tensors = to_tensors(zeros.clone()).unwrap();
    assert_eq!(global(&tensors).data, [1.0]);
    let again = from_tensors(tensors).unwrap();
    assert_eq!(again.dequantize(), zeros.dequantize());
    // Where codes are not zero, 1 would bring them to life.
    let packed = nvfp4(&[3, 32], GlobalScope::Tensor, &[0.0]);
    assert_eq!(
        to_tensors(packed),
        Err(Fp4Error::GlobalScale { value: 0.0 })
    );
}

#[test]
fn what_does_not_fit_is_an_error() {
    for value in [f32::INFINITY, -1.0, 1e-40, f32::MAX] {
        let packed = nvfp4(&[3, 32], GlobalScope::Tensor, &[value]);
        assert_eq!(to_tensors(packed), Err(Fp4Error::GlobalScale { value }));
    }
    let good = to_tensors(nvfp4(&[3, 32], GlobalScope::Tensor, &[0.25])).unwrap();
    let wrong = |change: fn(&mut PackQuantized)| {
        let mut tensors = good.clone();
        change(&mut tensors);
        from_tensors(tensors).unwrap_err()
    };
    let shapes = |error| matches!(error, Fp4Error::LayoutShapes { .. });
    assert!(shapes(wrong(|t| t.weight_scale.shape = vec![3, 1])));
    assert!(shapes(wrong(|t| t.weight_global_scale = None)));
    assert!(shapes(wrong(|t| t.weight_packed.shape = vec![48])));
    assert!(matches!(
        wrong(|t| t.weight_scale.data.truncate(1)),
        Fp4Error::Length {
            what: "weight_scale",
            ..
        }
    ));
    let nan = StoredTensor::new([1], vec![f32::NAN]);
    let nan = PackQuantized {
        weight_global_scale: Some(nan),
        ..good
    };
    assert!(matches!(
        from_tensors(nan),
        Err(Fp4Error::GlobalScale { .. })
    ));

    let block32 = Fp4Scheme::nvfp4_block32();
    let block32 = PackedFp4::quantize(&[1.0f32; 32], &[32], 0, block32).unwrap();
    assert!(matches!(to_tensors(block32), Err(Fp4Error::Scheme { .. })));
}

fn quotients(global_scale: f32) -> impl Iterator<Item = (f32, f32)> {
    (1..e4m3::NAN).map(move |byte| (e4m3::decode(byte), e4m3::decode(byte) / global_scale))
}

/// Their decode of bytes they wrote, against ours.
#[test]
fn powers_of_two_decode_to_the_same_bits() {
    for exponent in -100..100 {
        let theirs = 2f32.powi(exponent);
        let ours = reciprocal(theirs).unwrap();
        for (scale, quotient) in quotients(theirs) {
            for code in e2m1::VALUES {
                let (a, b) = (code * (scale * ours), code * quotient);
                assert_eq!(a.to_bits(), b.to_bits());
            }
        }
    }
}

proptest! {
    #[test]
    fn block_scales_agree_to_one_unit_in_the_last_place(mantissa in 0u32..1 << 23, e in 60u32..190) {
        let theirs = f32::from_bits(e << 23 | mantissa);
        let ours = reciprocal(theirs).unwrap();
        for (scale, quotient) in quotients(theirs) {
            prop_assert!((scale * ours).to_bits().abs_diff(quotient.to_bits()) <= 1);
        }
    }

    #[test]
    fn there_and_back_is_itself_or_a_neighbour(mantissa in 0u32..1 << 23, e in 10u32..240) {
        let scale = f32::from_bits(e << 23 | mantissa);
        let again = reciprocal(reciprocal(scale).unwrap()).unwrap();
        let below_sqrt2 = f64::from(mantissa) / f64::from(1 << 23) + 1.0 < 2f64.sqrt();
        prop_assert!(again.to_bits().abs_diff(scale.to_bits()) <= u32::from(!below_sqrt2));
    }
}

/// llm-compressor's `2688 / amax` for what ModelOpt stores as `amax / 2688`.
#[test]
fn scales_of_inputs() {
    let stored = to_input_global_scale(5.25 / 2688.0).unwrap();
    assert_eq!(stored, StoredTensor::new([1], vec![512.0]));
    assert_eq!(from_input_global_scale(&stored).unwrap(), 5.25 / 2688.0);
    let scalar = StoredTensor::scalar(512.0);
    assert_eq!(from_input_global_scale(&scalar).unwrap(), 1.0 / 512.0);
    for value in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
        assert!(to_input_global_scale(value).is_err(), "{value}");
    }
    let two = StoredTensor::new([2], vec![1.0; 2]);
    assert!(from_input_global_scale(&two).is_err());
    let none = StoredTensor::new([1], vec![]);
    assert!(from_input_global_scale(&none).is_err());
}
