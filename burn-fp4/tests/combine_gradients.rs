//! The sum of experts' products without its values has the gradients that it has with them.
#![cfg(feature = "flex")]
#![allow(clippy::unwrap_used)]

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use burn_fp4::{
    Adapted, Fp4Scheme, Fp4Tensor, LowRank, Operand, Rounded, expert_combine,
    expert_combine_gradients, expert_routing,
};

const EXPERTS: usize = 4;
const TOP_K: usize = 2;
const D_INPUT: usize = 64;
const D_OUTPUT: usize = 33;

fn tensor<const D: usize>(shape: [usize; D], seed: usize, device: &Device) -> Tensor<D> {
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.0 - 1.0;
    let values = (0..shape.iter().product()).map(value).collect::<Vec<_>>();
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}

/// The value, and the gradients of rows, bias, scores and of what trains in the weight.
fn run(operand: &str, gradients_alone: bool, device: &Device) -> (Vec<f32>, Vec<Vec<u32>>) {
    let chosen = [[0, 1], [3, 0], [1, 3], [0, 3]];
    let indices = Tensor::<2, Int>::from_data(chosen, (device, DType::I32));
    let routing = expert_routing(indices, EXPERTS);
    let rows = tensor([chosen.len() * TOP_K, D_INPUT], 1, device).require_grad();
    let bias = tensor([EXPERTS, D_OUTPUT], 2, device).require_grad();
    let scores = tensor([chosen.len(), TOP_K], 3, device).require_grad();
    let dense = tensor([EXPERTS, D_INPUT, D_OUTPUT], 4, device).require_grad();
    let a = tensor([EXPERTS, D_INPUT, 3], 5, device).require_grad();
    let b = tensor([EXPERTS, 3, D_OUTPUT], 6, device).require_grad();
    let scheme = Fp4Scheme::mxfp4();
    let packed = || Fp4Tensor::quantize(dense.clone().detach(), 1, &scheme);
    let adapted = || {
        let (a, b) = (a.clone(), b.clone());
        let scaling = 0.5;
        Adapted::new(packed(), LowRank { a, b, scaling })
    };
    let weight: Operand<3> = match operand {
        "dense" => dense.clone().into(),
        "packed" => packed().into(),
        "codes of a dense one" => Rounded::new(dense.clone(), packed()).into(),
        "a sum" => adapted().into(),
        "a rounded sum" => adapted().rounded(scheme, None).into(),
        other => unreachable!("{other}"),
    };
    let (x, bias_of, scores_of) = (rows.clone(), bias.clone(), scores.clone());
    let sums = match gradients_alone {
        true => expert_combine_gradients(x, weight, bias_of, scores_of, &routing),
        false => expert_combine(x, weight, bias_of, scores_of, &routing),
    };
    let value = sums.clone().try_into_vec_as::<f32>().unwrap();
    let pull = tensor([chosen.len(), D_OUTPUT], 7, device);
    let grads = (sums * pull).sum().backward();
    let bits = |data: TensorData| -> Vec<u32> {
        let values: Vec<f32> = data.try_into_vec().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    };
    let of_2 = |x: &Tensor<2>| x.grad(&grads).map(|grad| bits(grad.into_data()));
    let of_3 = |x: &Tensor<3>| x.grad(&grads).map(|grad| bits(grad.into_data()));
    let gradients = [
        of_2(&rows),
        of_2(&bias),
        of_2(&scores),
        of_3(&dense),
        of_3(&a),
        of_3(&b),
    ];
    (value, gradients.map(Option::unwrap_or_default).into())
}

#[test]
fn gradients_are_those_of_the_sums_bit_for_bit() {
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        // How many of them there are: rows, bias and scores, and what trains in the weight.
        for (operand, n) in [
            ("dense", 4),
            ("packed", 3),
            ("codes of a dense one", 4),
            ("a sum", 5),
            ("a rounded sum", 5),
        ] {
            let (value, expected) = run(operand, false, &device);
            let (zeros, found) = run(operand, true, &device);
            assert!(value.iter().all(|x| *x != 0.0), "{operand}");
            assert!(zeros.iter().all(|x| *x == 0.0), "{operand}");
            let there = expected.iter().filter(|gradient| !gradient.is_empty());
            assert_eq!(there.count(), n, "{operand}");
            assert!(expected == found, "{operand}");
        }
    }
}
