//! Packing and training agree, and neither threads nor chunks nor NaN spoil anything.

use half::{bf16, f16};
use proptest::prelude::*;

use super::inputs::{Input, MX_RULES, any_case, sample, schemes};
use crate::codec::e2m1;
use crate::codec::element::Fp4Element;
use crate::codec::fake_quantize::fake_quantize_slice;
use crate::codec::non_finite::NonFinite;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::packed::PackedFp4;
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalAmax;

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Decoding the packed bytes gives what training sees.
fn check_agreement<T>(
    quantizer: &SliceQuantizer,
    input: &Input,
    values: &[T],
) -> Result<Vec<f32>, TestCaseError>
where
    T: Fp4Element + Into<f32> + Default,
{
    let (shape, axis) = (&input.shape, input.axis);
    let packed = quantizer.quantize(values, shape, axis).unwrap();
    let mut stored = vec![T::default(); values.len()];
    packed.dequantize_along(axis, &mut stored).unwrap();
    let rounded = quantizer.fake_quantize(values, shape, axis).unwrap();
    let widen = |values: &[T]| values.iter().map(|&x| x.into()).collect::<Vec<f32>>();
    prop_assert_eq!(bits(&widen(&rounded)), bits(&widen(&stored)));
    let mut into = vec![T::default(); values.len()];
    quantizer
        .fake_quantize_into(values, shape, axis, &mut into)
        .unwrap();
    prop_assert_eq!(bits(&widen(&into)), bits(&widen(&stored)));
    Ok(widen(&stored))
}

/// Values of which some are NaN or infinite.
fn with_non_finite() -> impl Strategy<Value = (Fp4Scheme, Input)> {
    let bad = prop::sample::select(vec![
        f32::NAN,
        -f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
    ]);
    let places = prop::collection::vec((any::<prop::sample::Index>(), bad), 1..40);
    (any_case(), places).prop_map(|((scheme, mut input), places)| {
        for (place, bad) in places {
            let at = place.index(input.n_elements());
            input.values[at] = bad;
        }
        (scheme, input)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn packing_and_unpacking_is_fake_quantization((scheme, input) in any_case()) {
        let quantizer = SliceQuantizer::new(scheme).with_non_finite(NonFinite::Saturate);
        check_agreement(&quantizer, &input, &input.values)?;
        let narrow: Vec<bf16> = input.values.iter().map(|&x| bf16::from_f32(x)).collect();
        check_agreement(&quantizer, &input, &narrow)?;
        let narrow: Vec<f16> = input.values.iter().map(|&x| f16::from_f32(x)).collect();
        check_agreement(&quantizer, &input, &narrow)?;
    }

    #[test]
    fn training_survives_what_is_not_finite((scheme, input) in with_non_finite()) {
        let quantizer = SliceQuantizer::new(scheme).with_non_finite(NonFinite::Saturate);
        for y in check_agreement(&quantizer, &input, &input.values)? {
            prop_assert!(!y.is_nan());
        }
        let narrow: Vec<bf16> = input.values.iter().map(|&x| bf16::from_f32(x)).collect();
        for y in check_agreement(&quantizer, &input, &narrow)? {
            prop_assert!(!y.is_nan());
        }
    }

    /// A frozen magnitude cuts a tensor into blocks that know nothing of each other.
    #[test]
    fn blocks_are_independent((scheme, input) in any_case()) {
        let quantizer = SliceQuantizer::new(scheme);
        let amax = quantizer.amax(&input.values, &input.shape).unwrap();
        let whole = quantizer.quantize(&input.values, &input.shape, input.axis).unwrap();
        let block = scheme.block_size();
        let blocks = input.blocks(&input.values, block);
        let per_scale = blocks.len() / amax.len().max(1);
        for (i, values) in blocks.iter().enumerate() {
            let amax = amax.get(i / per_scale).copied().into_iter().collect();
            let alone = quantizer.clone().with_global_amax(GlobalAmax::Frozen(amax));
            let alone = alone.quantize(values, &[1, block], 1).unwrap();
            prop_assert_eq!(alone.scales(), &whole.scales()[i..=i]);
            prop_assert_eq!(alone.codes(), &whole.codes()[i * block / 2..][..block / 2]);
        }
    }

    /// What FP4 represents at the smallest scales of MXFP4 comes back, subnormal or not.
    #[test]
    fn representable_subnormal_values_are_exact(
        codes in prop::collection::vec(0u8..16, 32),
        exponent in -127..-120,
        rule in prop::sample::select(MX_RULES.to_vec()),
    ) {
        let unit = 2f32.powi(exponent);
        let mut values: Vec<f32> = codes.iter().map(|&code| e2m1::decode(code) * unit).collect();
        values[0] = 6.0 * unit;
        let scheme = Fp4Scheme::mxfp4_with(rule);
        let packed = PackedFp4::quantize(&values, &[32], 0, scheme).unwrap();
        prop_assert_eq!(packed.scales(), [(exponent + 127) as u8]);
        prop_assert_eq!(bits(&packed.dequantize()), bits(&values));
    }
}

/// The same bits on one thread, on two and on five, and in any number of pieces.
#[test]
fn threads_do_not_change_a_bit() {
    let shapes = [([1, 4_100, 32], 2), ([3, 64, 2_100], 1), ([5, 4_096, 3], 1)];
    for (shape, axis) in shapes {
        let mut values = sample(shape.iter().product());
        values[7] = f32::NAN;
        for scheme in schemes() {
            let quantizer = SliceQuantizer::new(scheme).with_non_finite(NonFinite::Saturate);
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                pool.build().unwrap().install(|| {
                    let packed = quantizer.quantize(&values, &shape, axis).unwrap();
                    let mut stored = vec![0f32; values.len()];
                    packed.dequantize_along(axis, &mut stored).unwrap();
                    let rounded = quantizer.fake_quantize(&values, &shape, axis).unwrap();
                    assert_eq!(bits(&rounded), bits(&stored), "{scheme}");
                    (packed, bits(&rounded))
                })
            };
            let serial = run(1);
            for threads in [2, 5] {
                assert!(
                    run(threads) == serial,
                    "{scheme}, {shape:?}, {threads} threads"
                );
            }
        }
    }
}

#[test]
fn zeros_stay_zeros_under_every_rule() {
    for scheme in schemes() {
        for zero in [0.0f32, -0.0] {
            for (shape, axis) in [([2, 3, 64], 2), ([2, 64, 3], 1)] {
                let values = [zero; 384];
                let packed = PackedFp4::quantize(&values, &shape, axis, scheme).unwrap();
                let rounded = fake_quantize_slice(&values, &shape, axis, &scheme).unwrap();
                assert!(rounded.iter().all(|&x| x == 0.0), "{scheme}");
                assert_eq!(bits(&packed.dequantize()), bits(&rounded), "{scheme}");
                let is_mx = matches!(scheme, Fp4Scheme::Mxfp4 { .. });
                let (scale, code) = match is_mx {
                    true if zero.is_sign_negative() => (0, 0x88),
                    true => (0, 0x00),
                    false => (0x38, 0x00),
                };
                assert!(
                    packed.scales().iter().all(|&byte| byte == scale),
                    "{scheme}"
                );
                assert!(packed.codes().iter().all(|&byte| byte == code), "{scheme}");
                assert!(packed.global_scales().iter().all(|&scale| scale == 0.0));
            }
        }
    }
}

/// One block of zeros among others stores the scale 1 of NVFP4, and so does a block of NaN.
#[test]
fn a_block_without_a_magnitude_has_scale_one() {
    for scheme in schemes() {
        let Fp4Scheme::Nvfp4 { .. } = scheme else {
            continue;
        };
        let mut values = [1f32; 128];
        values[32..64].fill(-0.0);
        values[64..96].fill(f32::NAN);
        let quantizer = SliceQuantizer::new(scheme).with_non_finite(NonFinite::Saturate);
        let packed = quantizer.quantize(&values, &[1, 128], 1).unwrap();
        let per_part = 32 / scheme.block_size();
        assert!(
            packed.scales()[per_part..3 * per_part]
                .iter()
                .all(|&byte| byte == 0x38)
        );
        assert!(packed.codes()[16..32].iter().all(|&byte| byte == 0));
        assert!(packed.codes()[32..48].iter().all(|&byte| byte == 0x77));
    }
}
