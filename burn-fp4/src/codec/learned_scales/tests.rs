//! The rule against its definition in f64, and against plain fake quantization.

use half::bf16;

use crate::codec::e2m1;
use crate::codec::e4m3;
use crate::codec::non_finite::NonFinite;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::{GlobalAmax, GlobalScope};
use crate::scheme::scale_rule::{Nvfp4ScaleRule, ScaleRule};

const SHAPE: [usize; 3] = [2, 64, 130];
const EXPERTS: Fp4Scheme = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);

fn sample(n_elements: usize) -> Vec<f32> {
    let values = (0..n_elements).map(|i| {
        let x = ((i * 7919 % 1009) as f32 - 504.0) / 97.0;
        if i % 37 == 0 { -0.0 } else { x * x * x * 0.013 }
    });
    values.collect()
}

fn saturating(scheme: Fp4Scheme) -> SliceQuantizer {
    SliceQuantizer::new(scheme).with_non_finite(NonFinite::Saturate)
}

/// `[2, 130, 64]` from `[2, 64, 130]`, or with other lengths.
fn turn<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    let at = |i: usize| (i / (rows * columns) * rows + i % rows) * columns + i / rows % columns;
    (0..values.len()).map(|i| values[at(i)]).collect()
}

/// Largest magnitude of every block of axis 1 of `SHAPE`.
fn block_amax(values: &[f32], block: usize) -> Vec<f32> {
    let turned = turn(values, 64, 130);
    let amax = |block: &[f32]| block.iter().fold(0f32, |max, x| max.max(x.abs()));
    let amax: Vec<f32> = turned.chunks(block).map(amax).collect();
    turn(&amax, 130, 64 / block)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn the_initial_parameter_changes_nothing() {
    let mut values = sample(SHAPE.iter().product());
    // A block of zeros, and one so small that its scale is at the floor.
    for row in 0..32 {
        values[row * 130 + 3] = 0.0;
        values[row * 130 + 4] *= 1e-8;
    }
    let rules = [
        ScaleRule::Ceil,
        ScaleRule::Floor,
        ScaleRule::Even,
        ScaleRule::Mse,
    ];
    let mut schemes: Vec<_> = rules.into_iter().map(Fp4Scheme::mxfp4_with).collect();
    schemes.extend([Fp4Scheme::nvfp4(), EXPERTS, Fp4Scheme::nvfp4_block32()]);
    for scheme in schemes {
        let block = scheme.block_size();
        let parameter = match scheme {
            Fp4Scheme::Mxfp4 { .. } => vec![0.0; values.len() / block],
            Fp4Scheme::Nvfp4 { .. } => block_amax(&values, block),
        };
        let quantizer = saturating(scheme);
        let wanted = quantizer.fake_quantize(&values, &SHAPE, 1).unwrap();
        let out = quantizer.fake_quantize_learned(&values, &parameter, &SHAPE, 1);
        assert_eq!(bits(&out.unwrap()), bits(&wanted), "{scheme}");
        let (values, parameter) = (turn(&values, 64, 130), turn(&parameter, 64 / block, 130));
        let out = quantizer.fake_quantize_learned(&values, &parameter, &[2, 130, 64], 2);
        assert_eq!(
            bits(&out.unwrap()),
            bits(&turn(&wanted, 64, 130)),
            "{scheme}"
        );
    }
}

/// The factor of every block in f64, as the definition has it.
fn factors(scheme: Fp4Scheme, values: &[f32], parameter: &[f32], amax: &[f32]) -> Vec<f64> {
    let block = scheme.block_size();
    let factor = |(i, &parameter): (usize, &f32)| match scheme {
        Fp4Scheme::Mxfp4 { .. } => {
            let values = values[i * block..][..block].iter();
            let amax = values.fold(0f64, |max, x| max.max(f64::from(x.abs())));
            let exponent = if amax == 0.0 {
                -127.0
            } else {
                (amax / 6.0).log2().ceil()
            };
            let offset = f64::from(parameter).round_ties_even();
            2f64.powf((exponent + offset).clamp(-127.0, 126.0))
        }
        Fp4Scheme::Nvfp4 { .. } => {
            let part = i / (values.len() / block / amax.len());
            let global = f64::from(amax[part] / 2688.0);
            let ratio = (f64::from(parameter) / (6.0 * global)).max(2f64.powi(-9));
            f64::from(e4m3::round(ratio as f32)) * global
        }
    };
    parameter.iter().enumerate().map(factor).collect()
}

/// Value, gradient of the value and of the factor of one element.
fn element(x: f64, factor: f64) -> (f64, f64, f64) {
    let y = x / factor;
    let rounded = f64::from(e2m1::round(y as f32));
    let inside = y.abs() <= 6.0;
    let by_factor = if inside { rounded - y } else { rounded };
    (rounded * factor, f64::from(u8::from(inside)), by_factor)
}

/// Parameters away from their initial values, some of them beyond every clamp.
fn moved(scheme: Fp4Scheme, values: &[f32]) -> Vec<f32> {
    let block = scheme.block_size();
    let parameter = |(i, values): (usize, &[f32])| match scheme {
        Fp4Scheme::Mxfp4 { .. } => [0.3, -1.6, 1.4, -0.4, 2.0, -400.0, 0.5][i % 7],
        Fp4Scheme::Nvfp4 { .. } => {
            let amax = values.iter().fold(0f32, |max, x| max.max(x.abs()));
            amax * [1.0, 0.7, 0.35, 1.3, 0.0, -1.0, 100.0][i % 7]
        }
    };
    values.chunks(block).enumerate().map(parameter).collect()
}

#[test]
fn values_and_gradients_are_those_of_the_definition() {
    let shape = [2, 130, 64];
    let values = sample(shape.iter().product());
    let grad: Vec<f32> = (0..values.len())
        .map(|i| ((i * 31 % 17) as f32 - 7.5) / 3.0)
        .collect();
    let amax = vec![1.1, 0.6];
    for scheme in [Fp4Scheme::mxfp4(), EXPERTS] {
        let block = scheme.block_size();
        let quantizer = saturating(scheme).with_global_amax(GlobalAmax::Frozen(amax.clone()));
        let parameter = moved(scheme, &values);
        let factors = factors(scheme, &values, &parameter, &amax);
        let out = quantizer
            .fake_quantize_learned(&values, &parameter, &shape, 2)
            .unwrap();
        let (grad_x, grad_p) = quantizer
            .learned_gradients(&values, &parameter, &grad, &shape, 2)
            .unwrap();
        for (i, &factor) in factors.iter().enumerate() {
            let (mut sum, mut magnitude) = (0.0, 0.0);
            for j in i * block..(i + 1) * block {
                let (value, by_x, by_factor) = element(f64::from(values[j]), factor);
                assert!(
                    (f64::from(out[j]) - value).abs() <= value.abs() * 1e-6,
                    "{scheme}"
                );
                assert_eq!(f64::from(grad_x[j]), by_x * f64::from(grad[j]));
                sum += f64::from(grad[j]) * by_factor;
                magnitude += f64::from(grad[j]).abs() * 6.0;
            }
            let slope = match scheme {
                Fp4Scheme::Mxfp4 { .. } => factor * std::f64::consts::LN_2,
                Fp4Scheme::Nvfp4 { .. } => {
                    let global = f64::from(amax[i / (factors.len() / 2)]) / 2688.0;
                    let saturated = f64::from(parameter[i]) > 6.0 * 448.0 * global;
                    if saturated { 0.0 } else { 1.0 / 6.0 }
                }
            };
            let bound = magnitude * slope * 1e-6;
            assert!(
                (f64::from(grad_p[i]) - sum * slope).abs() <= bound,
                "{scheme} {i}"
            );
        }
        assert!(grad_x.contains(&0.0), "nothing was clipped");
        if scheme == EXPERTS {
            assert!(grad_p.contains(&0.0), "no scale saturated");
        }
    }
}

/// Between two steps of the rounding the output is `q * s`, and `y` moves against it: with the
/// rounding error held, the loss is smooth in the scale and its slope can be measured.
#[test]
fn the_parameter_gradient_is_the_slope_of_the_surrogate() {
    let scheme = Fp4Scheme::nvfp4();
    let values = sample(16 * 40);
    let grad: Vec<f32> = (0..values.len())
        .map(|i| ((i * 31 % 17) as f32 - 7.5) / 3.0)
        .collect();
    let quantizer = saturating(scheme).with_global_amax(GlobalAmax::Frozen(vec![1.1]));
    let parameter: Vec<f32> = moved(scheme, &values);
    let factors = factors(scheme, &values, &parameter, &[1.1]);
    let gradients = quantizer.learned_gradients(&values, &parameter, &grad, &[40, 16], 1);
    let (_, grad_p) = gradients.unwrap();
    for (i, &factor) in factors.iter().enumerate() {
        let range = i * 16..(i + 1) * 16;
        // x = s * (y + e) with the error e of rounding held: clipped elements stay at 6.
        let loss = |scale: f64| -> f64 {
            let terms = range.clone().map(|j| {
                let (x, g) = (f64::from(values[j]), f64::from(grad[j]));
                let y = x / factor;
                let held = f64::from(e2m1::round(y as f32)) - y;
                let value = if y.abs() <= 6.0 {
                    x / scale + held
                } else {
                    6f64.copysign(y)
                };
                g * value * scale
            });
            terms.sum()
        };
        let step = factor * 1e-4;
        let slope = (loss(factor + step) - loss(factor - step)) / (2.0 * step) / 6.0;
        let saturated = parameter[i] > 1.1;
        let wanted = if saturated { 0.0 } else { slope };
        assert!(
            (f64::from(grad_p[i]) - wanted).abs() < 1e-5,
            "{i}: {} {wanted}",
            grad_p[i]
        );
    }
}

#[test]
fn layouts_and_thread_counts_agree() {
    let values: Vec<bf16> = sample(SHAPE.iter().product())
        .into_iter()
        .map(bf16::from_f32)
        .collect();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    for scheme in [
        Fp4Scheme::mxfp4_with(ScaleRule::Mse),
        Fp4Scheme::nvfp4_with(Nvfp4ScaleRule::Mse),
    ] {
        let block = scheme.block_size();
        let quantizer = saturating(scheme);
        let wide: Vec<f32> = values.iter().map(|x| x.to_f32()).collect();
        let parameter = moved(scheme, &wide);
        let run = || {
            quantizer
                .learned_gradients(&values, &parameter, &values, &SHAPE, 1)
                .unwrap()
        };
        let (grad_x, grad_p) = run();
        assert_eq!(pool.install(run), (grad_x.clone(), grad_p.clone()));
        let turned = turn(&values, 64, 130);
        let moved = turn(&parameter, 64 / block, 130);
        let last = quantizer
            .learned_gradients(&turned, &moved, &turned, &[2, 130, 64], 2)
            .unwrap();
        assert_eq!(last.0, turn(&grad_x, 64, 130));
        assert_eq!(bits(&last.1), bits(&turn(&grad_p, 64 / block, 130)));
    }
}

#[test]
fn a_zero_global_scale_moves_nothing() {
    let quantizer = saturating(Fp4Scheme::nvfp4());
    let gradients = quantizer.learned_gradients(&[0.0; 16], &[0.0], &[1.0; 16], &[16], 0);
    assert_eq!(gradients.unwrap(), (vec![1.0; 16], vec![0.0]));
}

#[test]
fn parameters_of_another_length_are_refused() {
    let quantizer = saturating(Fp4Scheme::nvfp4());
    let error = quantizer
        .fake_quantize_learned(&[0.0; 64], &[0.0; 3], &[32, 2], 0)
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("parameter has 3 elements") && text.contains("[2, 2]"),
        "{text}"
    );
}

#[test]
fn the_largest_number_itself_does_not_pull_at_its_scale() {
    // A global scale of 1 and a block scale of 1: y is x.
    let quantizer = saturating(Fp4Scheme::nvfp4());
    let quantizer = quantizer.with_global_amax(GlobalAmax::Frozen(vec![2688.0]));
    let gradient = |x: f32| {
        let mut values = [0.0; 16];
        values[2] = x;
        let gradients = quantizer.learned_gradients(&values, &[6.0], &[1.0; 16], &[16], 0);
        let (by_x, by_parameter) = gradients.unwrap();
        (by_x[2], by_parameter[0])
    };
    assert_eq!(gradient(6.0), (1.0, 0.0));
    assert_eq!(gradient(-6.0), (1.0, 0.0));
    assert_eq!(gradient(7.0), (0.0, 1.0));
    assert_eq!(gradient(-7.0), (0.0, -1.0));
    assert_eq!(gradient(1.75), (1.0, 0.25 / 6.0));
}
