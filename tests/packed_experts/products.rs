//! Both forms of the product against sums in f64.

use burn::tensor::Int;
use burn::tensor::{Device, Tensor, TensorData};
use burn_fp4::{Fp4Scheme, Fp4Tensor, GlobalScope, Operand, expert_linear, expert_routing};
use burn_gpt_oss::ExpertWeight;

use crate::model::{load_packed, values};

/// Rows per expert; two experts have none.
const COUNTS: [usize; 4] = [3, 0, 5, 0];

fn sample<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let n_elements = shape.iter().product::<usize>();
    let values = (0..n_elements).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 97.0);
    Tensor::from_data(TensorData::new(values.collect::<Vec<_>>(), shape), device)
}

/// `[rows, in] x [groups, in, out] -> [rows, out]` in f64, with the bound of a sum of `in` terms that
/// are rounded to f32, in any order.
fn product(rows: &[f32], weight: &[f32], counts: &[usize], [k, m]: [usize; 2]) -> Vec<(f64, f64)> {
    let unit = 2f64.powi(-24);
    let gamma = k as f64 * unit / (1.0 - k as f64 * unit);
    let groups = counts.iter().enumerate();
    let expert: Vec<usize> = groups
        .flat_map(|(group, count)| std::iter::repeat_n(group, *count))
        .collect();
    let element = |i: usize| {
        let (row, column) = (i / m, i % m);
        let weight = &weight[expert[row] * k * m..];
        let terms =
            (0..k).map(|j| f64::from(rows[row * k + j]) * f64::from(weight[j * m + column]));
        let (sum, magnitude) = terms.fold((0.0, 0.0), |(s, t), x| (s + x, t + x.abs()));
        (sum, gamma * magnitude)
    };
    (0..expert.len() * m).map(element).collect()
}

fn assert_within(what: &str, found: &Tensor<2>, wanted: &[(f64, f64)]) {
    let found = values(found);
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (found, (wanted, bound))) in found.iter().zip(wanted).enumerate() {
        let deviation = (f64::from(*found) - wanted).abs();
        assert!(deviation <= *bound, "{what}, {i}: {found} {wanted} {bound}");
    }
}

/// The product of consecutive rows with one expert after the other, without a bias.
fn consecutive(
    rows: Tensor<2>,
    weight: impl Into<Operand<3>>,
    counts: &[usize],
    device: &Device,
) -> Tensor<2> {
    let weight = weight.into();
    let [experts, _, d_output] = weight.shape();
    let chosen: Vec<i32> = (0..)
        .zip(counts)
        .flat_map(|(expert, count)| std::iter::repeat_n(expert, *count))
        .collect();
    let data = TensorData::new(chosen, [rows.dims()[0], 1]);
    let indices: Tensor<2, Int> = Tensor::from_data(data, device);
    let bias = Tensor::zeros([experts, d_output], device);
    expert_linear(rows, weight, bias, &expert_routing(indices, experts))
}

/// Forward and gradient of the packed product, and forward of the dense one with its values.
fn check(what: &str, weight: &Fp4Tensor<3>, counts: &[usize], device: &Device) {
    let [_, m, k] = weight.shape();
    let n = counts.iter().sum();
    let rows = sample([n, k], device).require_grad();
    let decoded = ExpertWeight::from(weight.clone()).val().inner();
    let out = consecutive(rows.clone(), weight.clone(), counts, device);
    let plain = rows.clone().inner();
    let wanted = product(&values(&plain), &values(&decoded), counts, [k, m]);
    assert_within(what, &out.clone().inner(), &wanted);
    let inner = device.clone().inner();
    assert_within(
        what,
        &consecutive(plain, decoded.clone(), counts, &inner),
        &wanted,
    );

    let seed = sample([n, m], device) * 0.37 + 1.1;
    let grads = (out * seed.clone()).sum().backward();
    let turned = decoded.swap_dims(1, 2);
    let wanted = product(&values(&seed.inner()), &values(&turned), counts, [m, k]);
    assert_within(what, &rows.grad(&grads).expect("gradient"), &wanted);
}

#[test]
fn products_are_within_the_rounding_of_f32_sums() {
    let per_expert = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        for scheme in [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4(), per_expert] {
            // Experts of different magnitude, so that global scales per expert differ.
            let magnitude = Tensor::<3>::from_data([[[0.3]], [[2.0]], [[0.01]], [[1.0]]], &device);
            let dense = sample([4, 24, 64], &device) * magnitude;
            let weight = Fp4Tensor::quantize(dense, 2, &scheme);
            check(&scheme.to_string(), &weight, &COUNTS, &device);
        }
    }
}

#[test]
fn products_with_the_golden_experts_are_too() {
    let device = Device::flex().autodiff();
    let model = load_packed("tiny-gpt-oss", &device);
    for block in &model.layers {
        for (name, weight) in block.mlp.experts.weights() {
            let weight = weight.packed().expect("packed experts");
            let [experts, _, _] = weight.shape();
            let counts: Vec<usize> = (0..experts).map(|expert| expert * 5 % 3).collect();
            check(name, weight, &counts, &device);
        }
    }
}
