//! The rule against the scales that packing stores.

use half::bf16;

use crate::codec::e4m3;
use crate::codec::e8m0;
use crate::codec::non_finite::NonFinite;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::{GlobalAmax, GlobalScope};
use crate::scheme::scale_rule::{Nvfp4ScaleRule, ScaleRule};

/// The rule as it is defined, from the scales that packing stores.
fn oracle(quantizer: &SliceQuantizer, values: &[f32], shape: &[usize]) -> Vec<bool> {
    let packed = quantizer.quantize(values, shape, shape.len() - 1).unwrap();
    let n_scales = packed.global_scales().len().max(1);
    let size = quantizer.scheme().block_size();
    let in_range = |(i, &x): (usize, &f32)| {
        let byte = packed.scales()[i / size];
        let scale = match packed.global_scales() {
            [] => e8m0::decode(byte),
            scales => e4m3::decode(byte) * scales[i / (values.len() / n_scales)],
        };
        // Closer than one rounding of the quotient nothing is decided here.
        f64::from(x.abs()) <= 6.0 * f64::from(scale) * (1.0 + 2f64.powi(-25))
    };
    values.iter().enumerate().map(in_range).collect()
}

fn sample(n_elements: usize) -> Vec<f32> {
    let values = (0..n_elements).map(|i| {
        let x = ((i * 7919 % 1009) as f32 - 504.0) / 97.0;
        x * x * x * 0.013
    });
    values.collect()
}

fn schemes() -> Vec<SliceQuantizer> {
    let frozen = |scheme, amax| {
        let quantizer = SliceQuantizer::new(scheme).with_non_finite(NonFinite::Saturate);
        quantizer.with_global_amax(GlobalAmax::Frozen(amax))
    };
    let experts = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);
    vec![
        SliceQuantizer::new(Fp4Scheme::mxfp4()),
        SliceQuantizer::new(Fp4Scheme::mxfp4_with(ScaleRule::Floor)),
        SliceQuantizer::new(Fp4Scheme::mxfp4_with(ScaleRule::Mse)),
        SliceQuantizer::new(Fp4Scheme::nvfp4()),
        SliceQuantizer::new(Fp4Scheme::nvfp4_with(Nvfp4ScaleRule::Mse)),
        frozen(Fp4Scheme::nvfp4(), vec![0.4]),
        frozen(experts, vec![0.2, 0.9]),
        SliceQuantizer::new(Fp4Scheme::nvfp4_block32()),
    ]
}

#[test]
fn only_saturated_elements_lose_their_gradient() {
    let shape = [2, 130, 64];
    let values = sample(shape.iter().product());
    let grad: Vec<f32> = (1..=values.len()).map(|i| i as f32).collect();
    let mut clipped = Vec::new();
    for quantizer in schemes() {
        let out = quantizer.clip_gradient(&values, &grad, &shape, 2).unwrap();
        let kept = oracle(&quantizer, &values, &shape);
        let wanted = grad
            .iter()
            .zip(&kept)
            .map(|(&g, &kept)| if kept { g } else { 0.0 });
        assert_eq!(out, wanted.collect::<Vec<_>>(), "{}", quantizer.scheme());
        clipped.push(kept.iter().any(|kept| !kept));
    }
    // Ceil clips nothing; the others would not be tested without clipping.
    assert_eq!(clipped[..3], [false, true, true]);
    assert!(clipped[5] && clipped[6]);
}

#[test]
fn other_axes_equal_moving_them_last() {
    let shape = [2, 64, 1100];
    let values = sample(shape.iter().product());
    let grad: Vec<f32> = (1..=values.len()).map(|i| i as f32).collect();
    let turn = |values: &[f32]| -> Vec<f32> {
        let index = |i: usize| (i / 70400, i % 64, i / 64 % 1100);
        let at = |(e, row, column): (usize, usize, usize)| (e * 64 + row) * 1100 + column;
        (0..values.len()).map(|i| values[at(index(i))]).collect()
    };
    for quantizer in schemes() {
        let out = quantizer.clip_gradient(&values, &grad, &shape, 1).unwrap();
        let turned = (turn(&values), turn(&grad));
        let wanted = quantizer.clip_gradient(&turned.0, &turned.1, &[2, 1100, 64], 2);
        assert_eq!(turn(&out), wanted.unwrap(), "{}", quantizer.scheme());
    }
}

#[test]
fn one_thread_gives_the_same_bits() {
    let shape = [3, 32, 2080];
    let values: Vec<bf16> = sample(3 * 32 * 2080)
        .into_iter()
        .map(bf16::from_f32)
        .collect();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let quantizer = SliceQuantizer::new(Fp4Scheme::mxfp4_with(ScaleRule::Floor));
    for axis in [1, 2] {
        let run = || {
            quantizer
                .clip_gradient(&values, &values, &shape, axis)
                .unwrap()
        };
        assert_eq!(run(), pool.install(run));
    }
}

#[test]
fn zeros_pass_and_what_is_not_finite_does_not() {
    let quantizer = SliceQuantizer::new(Fp4Scheme::nvfp4());
    let quantizer = quantizer.with_non_finite(NonFinite::Saturate);
    let zeros = quantizer.clip_gradient(&[0.0; 16], &[2.0; 16], &[16], 0);
    assert_eq!(zeros.unwrap(), [2.0; 16]);
    let mut values = [1.0f32; 16];
    values[3] = f32::NAN;
    let out = quantizer
        .clip_gradient(&values, &[2.0; 16], &[16], 0)
        .unwrap();
    assert_eq!((out[2], out[3]), (2.0, 0.0));
}

#[test]
fn the_largest_number_itself_passes() {
    let mut values = [0.5f32; 32];
    values[..5].copy_from_slice(&[7.0, 6.0, -6.0, 6f32.next_up(), -6.5]);
    // The exponent of 7 is 2, so the scale of Floor is 1.
    let quantizer = SliceQuantizer::new(Fp4Scheme::mxfp4_with(ScaleRule::Floor));
    let out = quantizer
        .clip_gradient(&values, &[3.0; 32], &[32], 0)
        .unwrap();
    assert_eq!(out[..6], [0.0, 3.0, 3.0, 0.0, 0.0, 3.0]);
}
