//! Statistics against their definition in f64, over packed bytes.

use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::codec::non_finite::NonFinite;
use crate::packed::PackedFp4;
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::{GlobalAmax, GlobalScope};
use crate::scheme::scale_rule::{Nvfp4ScaleRule, ScaleRule};

/// Mixed signs and sizes, with zeros and far outliers.
fn sample(n_elements: usize, seed: u64) -> Vec<f32> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let value = |i: usize| match i % 41 {
        0 => 0.0,
        1 => -0.0,
        2 => next() * 1e-6,
        _ => next() * ((i / 97 % 9) as f32 - 4.0).exp2(),
    };
    (0..n_elements).map(value).collect()
}

fn schemes() -> Vec<Fp4Scheme> {
    use {Nvfp4ScaleRule as Nv, ScaleRule as Mx};
    let mx = [Mx::Ceil, Mx::Floor, Mx::Even, Mx::Mse].map(Fp4Scheme::mxfp4_with);
    let nv = [Nv::Nearest, Nv::Mse, Nv::FourOverSix].map(Fp4Scheme::nvfp4_with);
    let block32 = Fp4Scheme::nvfp4_block32();
    let experts = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);
    mx.into_iter().chain(nv).chain([block32, experts]).collect()
}

/// Signal, noise, saturated and zeroed by their definitions, from the bytes of a packing.
fn oracle(values: &[f32], packed: &PackedFp4) -> (f64, f64, u64, u64) {
    let block = packed.scheme().block_size();
    let part = values.len() / packed.global_scales().len().max(1);
    let (mut signal, mut noise, mut saturated, mut zeroed) = (0.0, 0.0, 0, 0);
    for (i, (&x, q)) in values.iter().zip(packed.dequantize()).enumerate() {
        let scale = packed.scales()[i / block];
        let scale = match packed.scheme() {
            Fp4Scheme::Mxfp4 { .. } => crate::codec::e8m0::decode(scale),
            _ => crate::codec::e4m3::decode(scale) * packed.global_scales()[i / part],
        };
        signal += f64::from(x).powi(2);
        noise += (f64::from(x) - f64::from(q)).powi(2);
        saturated += u64::from(x.abs() > 6.0 * scale);
        zeroed += u64::from(x != 0.0 && q == 0.0);
    }
    (signal, noise, saturated, zeroed)
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

fn check(stats: &QuantStats, values: &[f32], packed: &PackedFp4) {
    let (signal, noise, saturated, zeroed) = oracle(values, packed);
    let n_elements = values.len() as f64;
    assert_eq!(stats.n_elements(), values.len() as u64);
    assert_eq!(stats.n_non_finite(), 0);
    assert!(close(stats.mse(), noise / n_elements), "{stats}");
    assert!(
        close(stats.sqnr_db(), 10.0 * (signal / noise).log10()),
        "{stats}"
    );
    assert_eq!(stats.saturated_fraction(), saturated as f64 / n_elements);
    assert_eq!(stats.zero_fraction(), zeroed as f64 / n_elements);
}

/// `[outer, len, inner]` to `[outer, inner, len]`.
fn axis_last(values: &[f32], outer: usize, len: usize, inner: usize) -> Vec<f32> {
    let index = |i: usize| (i / (len * inner) * len + i % len) * inner + i / len % inner;
    (0..outer * len * inner).map(|i| values[index(i)]).collect()
}

proptest! {
    #[test]
    fn every_scheme_equals_the_definition(
        outer in 1usize..4,
        blocks in 1usize..5,
        inner in 1usize..80,
        seed in any::<u64>(),
    ) {
        let len = 32 * blocks;
        let shape = [outer, len, inner];
        let values = sample(outer * len * inner, seed);
        let last = axis_last(&values, outer, len, inner);
        for scheme in schemes() {
            let quantizer = SliceQuantizer::new(scheme);
            let packed = quantizer.quantize(&values, &shape, 1).unwrap();
            check(&quantizer.stats(&values, &shape, 1).unwrap(), &last, &packed);
            let contiguous = quantizer.stats(&last, &[outer, inner, len], 2).unwrap();
            check(&contiguous, &last, &packed);
        }
    }

    #[test]
    fn changes_equal_a_comparison_of_every_element(seed in any::<u64>(), step in 0f32..0.3) {
        let shape = [3, 5, 64];
        let old = sample(960, seed);
        let moves = sample(960, !seed);
        let new: Vec<f32> = old.iter().zip(&moves).map(|(x, dx)| x + step * dx).collect();
        for scheme in schemes() {
            let pack = |values| PackedFp4::quantize(values, &shape, 2, scheme).unwrap();
            let (old, new) = (pack(&old), pack(&new));
            let changes = codes_changed(&old, &new).unwrap();
            let code = |packed: &PackedFp4, i: usize| packed.codes()[i / 2] >> (4 * (i % 2)) & 0xf;
            let codes = (0..960).filter(|&i| code(&old, i) != code(&new, i)).count();
            let scales = old.scales().iter().zip(new.scales()).filter(|(a, b)| a != b).count();
            let values = old.dequantize().iter().zip(new.dequantize()).filter(|(a, b)| *a != b).count();
            let found = (changes.codes, changes.scales, changes.values);
            prop_assert_eq!(found, (codes as u64, scales as u64, values as u64));
            prop_assert_eq!(changes.n_elements, 960);
        }
    }
}

#[test]
fn large_tensors_and_threads() {
    // Several tasks along either axis, and a last tile that is not full.
    for (shape, axis) in [([5, 3, 16_384], 2), ([3, 64, 2_061], 1)] {
        let values = sample(shape.iter().product(), 7);
        for scheme in [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4(), schemes()[8]] {
            let quantizer = SliceQuantizer::new(scheme);
            let stats = [1, 2, 5].map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let pool = pool.build().unwrap();
                pool.install(|| quantizer.stats(&values, &shape, axis).unwrap())
            });
            let bits = |stats: &QuantStats| (stats.mse().to_bits(), stats.sqnr_db().to_bits());
            assert_eq!(stats[0], stats[1]);
            assert_eq!(stats[0], stats[2]);
            assert_eq!(bits(&stats[0]), bits(&stats[2]));
            let packed = quantizer.quantize(&values, &shape, axis).unwrap();
            let last = if axis == 1 {
                axis_last(&values, 3, 64, 2_061)
            } else {
                values.clone()
            };
            check(&stats[0], &last, &packed);
        }
    }
}

/// Block maximum 7: Ceil goes to scale 2, where 7 is 8; Floor keeps scale 1 and clips to 6.
#[test]
fn published_block_maximum() {
    let mut values = [0.0f32; 32];
    (values[0], values[1], values[2]) = (7.0, 0.25, -0.0);
    let of = |rule| {
        let quantizer = SliceQuantizer::new(Fp4Scheme::mxfp4_with(rule));
        quantizer.stats(&values, &[32], 0).unwrap()
    };
    for (rule, saturated) in [
        (ScaleRule::Ceil, 0.0),
        (ScaleRule::Floor, 1.0),
        (ScaleRule::Even, 0.0),
    ] {
        let stats = of(rule);
        assert_eq!(stats.mse(), (1.0 + 0.0625) / 32.0, "{rule}");
        assert_eq!(stats.saturated_fraction(), saturated / 32.0, "{rule}");
        assert_eq!(stats.zero_fraction(), 1.0 / 32.0, "{rule}");
    }
    let sqnr = 10.0 * (49.0625f64 / 1.0625).log10();
    assert!(close(of(ScaleRule::Ceil).sqnr_db(), sqnr));
}

#[test]
fn frozen_magnitudes_saturate() {
    let frozen = |amax| {
        SliceQuantizer::new(Fp4Scheme::nvfp4()).with_global_amax(GlobalAmax::Frozen(vec![amax]))
    };
    let values = bf16_range();
    let stats = frozen(1.0).stats(&values, &[16], 0).unwrap();
    assert_eq!(stats.saturated_fraction(), 12.0 / 16.0);
    // A frozen zero leaves nothing but zeros; what was zero is not counted.
    let stats = frozen(0.0).stats(&values, &[16], 0).unwrap();
    assert_eq!(
        (stats.zero_fraction(), stats.saturated_fraction()),
        (15.0 / 16.0, 15.0 / 16.0)
    );
    assert_eq!(stats.sqnr_db(), 0.0);
}

/// 0, 0.3, 0.6 .. 4.5: four of them are at most 1.
fn bf16_range() -> Vec<bf16> {
    (0..16).map(|i| bf16::from_f32(0.3 * i as f32)).collect()
}

#[test]
fn non_finite_values_are_counted_and_nothing_else() {
    let mut values = [1.0f32; 64];
    (values[0], values[41]) = (f32::NAN, f32::NEG_INFINITY);
    let strict = SliceQuantizer::new(Fp4Scheme::mxfp4());
    let error = strict.stats(&values, &[2, 32], 1).unwrap_err();
    assert!(matches!(error, Fp4Error::NonFinite { index: 0, .. }));
    for (shape, axis) in [([2, 32], 1), ([32, 2], 0)] {
        let quantizer = strict.clone().with_non_finite(NonFinite::Saturate);
        let stats = quantizer.stats(&values, &shape, axis).unwrap();
        assert_eq!((stats.n_non_finite(), stats.saturated_fraction()), (2, 0.0));
        // The neighbours of infinity became zero.
        assert_eq!(stats.zero_fraction(), 31.0 / 64.0);
        assert_eq!(stats.mse(), 31.0 / 62.0);
        assert!(stats.to_string().ends_with(", 2 not finite"));
    }
    let overflow = strict.stats(&[f32::MAX; 32], &[32], 0).unwrap();
    assert_eq!(
        (overflow.mse(), overflow.sqnr_db()),
        (f64::INFINITY, f64::NEG_INFINITY)
    );
}

#[test]
fn nothing_and_zeros_lose_nothing() {
    for scheme in [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4()] {
        let quantizer = SliceQuantizer::new(scheme);
        let nothing = quantizer.stats::<f32>(&[], &[0, 32], 1).unwrap();
        assert_eq!(nothing, QuantStats::default());
        let zeros = quantizer.stats(&[0f32, -0.0].repeat(16), &[32], 0).unwrap();
        for stats in [nothing, zeros] {
            assert_eq!((stats.mse(), stats.sqnr_db()), (0.0, f64::INFINITY));
            assert_eq!(
                (stats.saturated_fraction(), stats.zero_fraction()),
                (0.0, 0.0)
            );
        }
        let packed = PackedFp4::quantize::<f32>(&[], &[0, 32], 1, scheme).unwrap();
        assert_eq!(
            codes_changed(&packed, &packed).unwrap(),
            CodeChanges::default()
        );
    }
}

#[test]
fn statistics_add_up() {
    let values = sample(4 * 1024, 3);
    let quantizer = SliceQuantizer::new(Fp4Scheme::mxfp4());
    let parts = values.chunks(1024);
    let parts = parts.map(|part| quantizer.stats(part, &[1024], 0).unwrap());
    let total: QuantStats = parts.sum();
    let whole = quantizer.stats(&values, &[4096], 0).unwrap();
    assert!(close(total.mse(), whole.mse()) && close(total.sqnr_db(), whole.sqnr_db()));
    assert_eq!(total.zero_fraction(), whole.zero_fraction());
}

#[test]
fn both_zeros_are_one_value_and_two_codes() {
    let pack = |codes: u8, scale: u8| {
        PackedFp4::from_parts(Fp4Scheme::mxfp4(), vec![32], vec![codes; 16], vec![scale]).unwrap()
    };
    let count = |before, after| {
        let changes = codes_changed(&before, &after).unwrap();
        (changes.codes, changes.scales, changes.values)
    };
    assert_eq!(count(pack(0x00, 127), pack(0x80, 127)), (16, 0, 0));
    assert_eq!(count(pack(0x00, 127), pack(0x00, 1)), (0, 1, 0));
    // 4 with scale 1 is 2 with scale 2: other bytes, same values.
    assert_eq!(count(pack(0x66, 127), pack(0x44, 128)), (32, 1, 0));
    assert_eq!(count(pack(0x66, 127), pack(0x66, 128)), (0, 1, 32));
    assert_eq!(count(pack(0x66, 255), pack(0xee, 255)), (32, 0, 0));
    assert_eq!(count(pack(0x66, 255), pack(0x66, 127)), (0, 1, 32));
}

#[test]
fn a_new_global_scale_changes_every_value_but_zero() {
    let pack = |global| {
        let (shape, scales) = (vec![16], vec![0x38]);
        PackedFp4::from_parts_with_global(
            Fp4Scheme::nvfp4(),
            shape,
            vec![0x20; 8],
            scales,
            vec![global],
        )
    };
    let changes = codes_changed(&pack(1.0).unwrap(), &pack(1.5).unwrap()).unwrap();
    assert_eq!((changes.codes, changes.scales, changes.values), (0, 0, 8));
    assert_eq!(
        changes.to_string(),
        "8 of 16 values changed (50.000 %), 0 codes, 0 scales"
    );
}

#[test]
fn packings_must_be_comparable() {
    let pack = |shape: &[usize], scheme| {
        PackedFp4::quantize(&[1f32; 64], shape, shape.len() - 1, scheme).unwrap()
    };
    let mx = pack(&[2, 32], Fp4Scheme::mxfp4());
    assert!(codes_changed(&mx, &mx.view()).is_ok());
    assert!(codes_changed(&mx, &pack(&[2, 32], Fp4Scheme::mxfp4_with(ScaleRule::Even))).is_ok());
    let others = [
        pack(&[64], Fp4Scheme::mxfp4()),
        pack(&[2, 32], Fp4Scheme::nvfp4()),
        pack(&[2, 32], Fp4Scheme::nvfp4_block32()),
    ];
    for (i, other) in others.iter().enumerate() {
        let error = codes_changed(&mx, other).unwrap_err();
        assert!(error.to_string().contains("cannot be compared"), "{i}");
        assert!(i == 0 || codes_changed(other, &others[3 - i]).is_err());
    }
}

#[test]
fn logging() {
    let mut values = [6.0f32; 32];
    values[0] = 0.1;
    let quantizer = SliceQuantizer::new(Fp4Scheme::mxfp4());
    let stats = quantizer.stats(&values, &[32], 0).unwrap();
    assert_eq!(
        stats.to_string(),
        "32 elements: SQNR 50.48 dB, MSE 3.125e-4, 0.000 % saturated, 3.125 % became zero"
    );
    let json = serde_json::to_value(QuantStats::default()).unwrap();
    let wanted = serde_json::json!({
        "n_elements": 0, "n_non_finite": 0, "mse": 0.0, "sqnr_db": null,
        "saturated_fraction": 0.0, "zero_fraction": 0.0,
    });
    assert_eq!(json, wanted);
}

#[cfg(feature = "flex")]
#[test]
fn tensors_are_read_as_they_are() {
    use burn::tensor::{DType, Device, TensorData};

    let data = TensorData::new(bf16_range().repeat(8), [4, 32]);
    let tensor = Tensor::<2>::from_data(data, (&Device::flex(), DType::BF16));
    let quantizer = SliceQuantizer::new(Fp4Scheme::mxfp4());
    let stats = quantizer.tensor_stats(tensor, 0);
    assert!(matches!(stats, Err(Fp4Error::BlockSize { length: 4, .. })));
    let tensor = Tensor::<2>::from_data(
        TensorData::new(bf16_range().repeat(8), [4, 32]),
        (&Device::flex(), DType::BF16),
    );
    let wanted = quantizer
        .stats(&bf16_range().repeat(8), &[4, 32], 1)
        .unwrap();
    assert_eq!(quantizer.tensor_stats(tensor, 1).unwrap(), wanted);
}
