//! Weights with a low-rank delta: codes of the sum, products and gradients on Flex.
#![cfg(feature = "flex")]
#![allow(clippy::unwrap_used)]

use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use burn_fp4::{
    Adapted, ExpertRouting, Fp4Scheme, Fp4Tensor, GlobalAmax, GlobalScope, LowRank, Nvfp4ScaleRule,
    Operand, PackedFp4, ScaleRule, SliceQuantizer, expert_combine, expert_linear, expert_routing,
    linear,
};

const EXPERTS: usize = 5;
/// Widths that differ, an output that no tile divides.
const D_INPUT: usize = 96;
const D_OUTPUT: usize = 70;
const RANK: usize = 3;
const TOP_K: usize = 2;
const SCALING: f32 = 0.75;

/// Numbers without a pattern, between -1 and 1.
fn sample(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn tensor<const D: usize>(shape: [usize; D], seed: u32, device: &Device) -> Tensor<D> {
    let data = TensorData::new(sample(shape.iter().product(), seed), shape);
    Tensor::from_data(data, (device, DType::F32))
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.cast(DType::F32).into_data().try_into_vec().unwrap()
}

fn weight(device: &Device) -> Tensor<3> {
    tensor([EXPERTS, D_INPUT, D_OUTPUT], 1, device) * 0.1
}

fn delta(device: &Device) -> LowRank<3> {
    LowRank {
        a: tensor([EXPERTS, D_INPUT, RANK], 2, device),
        b: tensor([EXPERTS, RANK, D_OUTPUT], 3, device) * 0.02,
        scaling: SCALING,
    }
}

fn packed(scheme: &Fp4Scheme, device: &Device) -> Fp4Tensor<3> {
    Fp4Tensor::quantize(weight(device), 1, scheme)
}

/// Tokens of which none goes to expert 2.
fn routing(device: &Device) -> (usize, ExpertRouting) {
    let chosen = [[0, 1], [3, 0], [4, 1], [1, 3], [0, 4], [4, 3], [1, 0]];
    let indices = Tensor::<2, Int>::from_data(chosen, (device, DType::I32));
    (chosen.len(), expert_routing(indices, EXPERTS))
}

/// `base: [experts, in, out]` with the delta, step by step.
fn merged(base: &[f32], delta: &LowRank<3>) -> Vec<f32> {
    let (a, b) = (values(delta.a.clone()), values(delta.b.clone()));
    let element = |i: usize| {
        let (expert, input, output) =
            (i / D_OUTPUT / D_INPUT, i / D_OUTPUT % D_INPUT, i % D_OUTPUT);
        let mut sum = 0f32;
        for k in 0..RANK {
            let product = a[(expert * D_INPUT + input) * RANK + k]
                * b[(expert * RANK + k) * D_OUTPUT + output];
            sum += product;
        }
        let scaled = delta.scaling * sum;
        base[i] + scaled
    };
    (0..base.len()).map(element).collect()
}

fn schemes() -> Vec<Fp4Scheme> {
    let mut schemes: Vec<_> = [ScaleRule::Ceil, ScaleRule::Floor, ScaleRule::Mse]
        .map(Fp4Scheme::mxfp4_with)
        .to_vec();
    schemes.push(Fp4Scheme::nvfp4());
    schemes.push(Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert));
    schemes.push(Fp4Scheme::nvfp4_with(Nvfp4ScaleRule::FourOverSix));
    schemes
}

/// Largest magnitudes that merged weights do not reach, and the global scales that follow from them.
fn global(scheme: &Fp4Scheme, device: &Device) -> (Vec<f32>, Option<Tensor<1>>) {
    let n = scheme.n_global_scales(&[EXPERTS, D_INPUT, D_OUTPUT]);
    if n == 0 {
        return (Vec::new(), None);
    }
    let amax: Vec<f32> = (0..n).map(|i| 0.3 + 0.01 * i as f32).collect();
    let zeros = Tensor::<3>::zeros([EXPERTS, 32, 1], (device, DType::F32));
    let given = Tensor::from_data(TensorData::new(amax.clone(), [n]), (device, DType::F32));
    let scales = Fp4Tensor::quantize_with_amax(zeros, given, 1, scheme).global_scales();
    (amax, scales)
}

#[test]
fn codes_are_those_of_the_sum_computed_step_by_step() {
    let device = Device::flex();
    for scheme in schemes() {
        let dense = weight(&device);
        let bases: [(&str, Operand<3>, Vec<f32>); 4] = [
            ("f32", dense.clone().into(), values(dense.clone())),
            (
                "bf16",
                dense.clone().cast(DType::BF16).into(),
                values(dense.cast(DType::BF16)),
            ),
            {
                let base = packed(&Fp4Scheme::mxfp4(), &device);
                let plain = values(base.dequantize(1, FloatDType::F32));
                ("MXFP4", base.into(), plain)
            },
            {
                let base = packed(&Fp4Scheme::nvfp4(), &device);
                let plain = values(base.dequantize(1, FloatDType::F32));
                ("NVFP4", base.into(), plain)
            },
        ];
        let (amax, scales) = global(&scheme, &device);
        let quantizer = SliceQuantizer::new(scheme).with_global_amax(GlobalAmax::Frozen(amax));
        for (name, base, plain) in bases {
            let sum = merged(&plain, &delta(&device));
            let expected = quantizer
                .quantize(&sum, &[EXPERTS, D_INPUT, D_OUTPUT], 1)
                .unwrap();
            let adapted = Adapted::new(base, delta(&device)).rounded(scheme, scales.clone());
            let found = adapted.merge().unwrap().to_packed().unwrap();
            assert_eq!(found, expected, "{name}, {scheme:?}");
        }
    }
}

#[test]
fn a_packed_base_keeps_its_global_scales() {
    let device = Device::flex();
    let base = packed(&Fp4Scheme::nvfp4(), &device);
    let scales = values(base.global_scales().unwrap());
    let adapted = Adapted::new(base, delta(&device)).rounded(Fp4Scheme::nvfp4(), None);
    assert_eq!(
        values(adapted.merge().unwrap().global_scales().unwrap()),
        scales
    );
}

fn assert_near(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
    assert!(largest > 0.0, "{what}: nothing to compare");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(error <= 2e-6 * largest, "{what}, {i}: {found} {expected}");
    }
}

/// Output, and the gradients of rows, `a`, `b`, bias and scores.
type Results = [Vec<f32>; 6];

/// With a function that makes the weight from tracked factors.
fn run(combined: bool, device: &Device, weight: impl FnOnce(LowRank<3>) -> Operand<3>) -> Results {
    let (tokens, routing) = routing(device);
    let rows = if combined { tokens * TOP_K } else { tokens };
    let x = tensor([rows, D_INPUT], 5, device).require_grad();
    let bias = tensor([EXPERTS, D_OUTPUT], 6, device).require_grad();
    let scores = tensor([tokens, TOP_K], 7, device).require_grad();
    let delta = delta(device);
    let (a, b) = (delta.a.require_grad(), delta.b.require_grad());
    let delta = LowRank {
        a: a.clone(),
        b: b.clone(),
        scaling: SCALING,
    };
    let weight = weight(delta);
    let output = match combined {
        true => expert_combine(x.clone(), weight, bias.clone(), scores.clone(), &routing),
        false => expert_linear(x.clone(), weight, bias.clone(), &routing),
    };
    let seed = tensor(output.dims(), 8, device);
    let found = values(output.clone());
    let grads = (output * seed).sum().backward();
    let of_scores = scores.grad(&grads).map_or(Vec::new(), values);
    [
        found,
        values(x.grad(&grads).unwrap()),
        values(a.grad(&grads).unwrap()),
        values(b.grad(&grads).unwrap()),
        values(bias.grad(&grads).unwrap()),
        of_scores,
    ]
}

fn compare(what: &str, found: &Results, expected: &Results) {
    let names = ["output", "rows", "a", "b", "bias", "scores"];
    for ((name, found), expected) in names.iter().zip(found).zip(expected) {
        if !expected.is_empty() {
            assert_near(&format!("{what}, {name}"), found, expected);
        }
    }
}

/// The sum as a dense weight whose gradient Burn hands to the factors.
fn dense_sum(base: Tensor<3>, delta: LowRank<3>, rounded: Option<Tensor<3>>) -> Operand<3> {
    let sum = base + delta.a.matmul(delta.b) * delta.scaling;
    Operand::Dense(match rounded {
        // Straight through.
        Some(rounded) => sum.clone() + (rounded - sum).detach(),
        None => sum,
    })
}

#[test]
fn rounded_products_and_gradients_are_those_of_the_merged_weight() {
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        let scheme = Fp4Scheme::mxfp4();
        for combined in [false, true] {
            let base = packed(&scheme, &device);
            let adapted = |delta| Adapted::new(base.clone(), delta).rounded(scheme, None);
            let codes = adapted(delta(&device)).merge().unwrap();
            let plain = base.dequantize(1, FloatDType::F32);
            let found = run(combined, &device, |delta| adapted(delta).into());
            let rounded = codes.dequantize(1, FloatDType::F32);
            let expected = run(combined, &device, |delta| {
                dense_sum(plain, delta, Some(rounded))
            });
            compare(&format!("combined: {combined}"), &found, &expected);
        }
    }
}

#[test]
fn plain_products_and_gradients_are_those_of_the_sum() {
    let device = Device::flex().autodiff();
    let base = packed(&Fp4Scheme::mxfp4(), &device);
    let plain = base.dequantize(1, FloatDType::F32);
    for combined in [false, true] {
        let found = run(combined, &device, |delta| {
            Adapted::new(base.clone(), delta).into()
        });
        let expected = run(combined, &device, |delta| {
            dense_sum(plain.clone(), delta, None)
        });
        compare(&format!("combined: {combined}"), &found, &expected);
    }
}

/// Scale bytes of NaN would reach every result that they are read for.
#[test]
fn experts_without_rows_are_not_read() {
    let device = Device::flex().autodiff();
    let scheme = Fp4Scheme::mxfp4();
    let whole = packed(&scheme, &device).to_packed().unwrap();
    let (codes, mut scales) = whole.into_parts();
    let per_expert = scales.len() / EXPERTS;
    scales[2 * per_expert..3 * per_expert].fill(255);
    let shape = vec![EXPERTS, D_OUTPUT, D_INPUT];
    let base = PackedFp4::from_parts(scheme, shape, codes, scales).unwrap();
    let base = Fp4Tensor::<3>::from_packed(base, &device).unwrap();
    for rounded in [false, true] {
        let found = run(false, &device, |delta| {
            let adapted = Adapted::new(base.clone(), delta);
            match rounded {
                true => adapted.rounded(scheme, None).into(),
                false => adapted.into(),
            }
        });
        assert!(found.iter().flatten().all(|value| value.is_finite()));
        let of_expert = &found[2][2 * D_INPUT * RANK..3 * D_INPUT * RANK];
        assert!(of_expert.iter().all(|&value| value == 0.0));
    }
}

#[test]
fn one_matrix_is_the_matrix_of_one_expert() {
    let device = Device::flex().autodiff();
    let scheme = Fp4Scheme::mxfp4();
    let rows = tensor([2, 3, D_INPUT], 5, &device);
    let base = Fp4Tensor::<2>::quantize(tensor([D_INPUT, D_OUTPUT], 1, &device), 0, &scheme);
    let delta = LowRank {
        a: tensor([D_INPUT, RANK], 2, &device),
        b: tensor([RANK, D_OUTPUT], 3, &device),
        scaling: SCALING,
    };
    let plain = base.dequantize(0, FloatDType::F32);
    let sum = plain + delta.a.clone().matmul(delta.b.clone()) * SCALING;
    let adapted = Adapted::new(base, delta);
    let found = values(linear(rows.clone(), adapted.clone(), None));
    assert_near(
        "plain",
        &found,
        &values(linear(rows.clone(), sum.clone(), None)),
    );
    let found = values(linear(rows.clone(), adapted.rounded(scheme, None), None));
    let codes = Fp4Tensor::quantize(sum, 0, &scheme);
    assert_near("rounded", &found, &values(linear(rows, codes, None)));
}

#[test]
fn rows_in_bf16_have_factors_in_f32() {
    let device = Device::flex().autodiff();
    let scheme = Fp4Scheme::mxfp4();
    let (tokens, routing) = routing(&device);
    let x = tensor([tokens, D_INPUT], 5, &device).cast(DType::BF16);
    let bias = tensor([EXPERTS, D_OUTPUT], 6, &device).cast(DType::BF16);
    let delta = delta(&device);
    let (a, b) = (delta.a.require_grad(), delta.b.require_grad());
    for rounded in [false, true] {
        let delta = LowRank {
            a: a.clone(),
            b: b.clone(),
            scaling: SCALING,
        };
        let adapted = Adapted::new(packed(&scheme, &device), delta);
        let adapted = if rounded {
            adapted.rounded(scheme, None)
        } else {
            adapted
        };
        let output = expert_linear(x.clone(), adapted, bias.clone(), &routing);
        assert_eq!(output.dtype(), DType::BF16);
        let grads = output.cast(DType::F32).sum().backward();
        for factor in [&a, &b] {
            let gradient = factor.grad(&grads).unwrap();
            assert_eq!(gradient.dtype(), DType::F32);
            assert!(values(gradient).iter().any(|&value| value != 0.0));
        }
    }
}

#[test]
#[should_panic(expected = "a low-rank delta of another weight")]
fn a_delta_of_another_shape_is_refused() {
    let device = Device::flex();
    let LowRank { a, b, scaling } = delta(&device);
    let swapped = LowRank {
        a: b.swap_dims(1, 2),
        b: a.swap_dims(1, 2),
        scaling,
    };
    let _ = Adapted::new(packed(&Fp4Scheme::mxfp4(), &device), swapped);
}
