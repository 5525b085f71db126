//! The public operations on Burn's devices: autodiff, lazy execution and all, against Flex.
//!
//! Inputs are small multiples of powers of two, so that every sum is exact and both sides have the same bits.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use burn_fp4::{
    Fp4Scheme, Fp4Tensor, Operand, expert_combine, expert_linear, expert_routing, linear,
};

use kernel_harness::runtimes::devices;

const TOKENS: usize = 6;
const EXPERTS: usize = 4;

/// Multiples of a half from -1 to 1.
fn halves<const D: usize>(shape: [usize; D], seed: usize, device: &Device) -> Tensor<D> {
    let n: usize = shape.iter().product();
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 5) as f32 / 2.0 - 1.0;
    let data = TensorData::new((0..n).map(value).collect::<Vec<_>>(), shape);
    Tensor::from_data(data, (device, DType::F32))
}

/// Output and gradients of two expert layers and a linear one.
fn run(device: &Device, packed: bool) -> Vec<(&'static str, Vec<f32>)> {
    let device = &device.clone().autodiff();
    let x = halves([TOKENS, 32], 1, device).require_grad();
    let up = halves([EXPERTS, 32, 64], 2, device);
    let down = halves([EXPERTS, 64, 8], 3, device);
    let up_bias = halves([EXPERTS, 64], 4, device).require_grad();
    let down_bias = halves([EXPERTS, 8], 5, device).require_grad();
    let scores = halves([TOKENS, 2], 6, device).require_grad();
    let head = halves([8, 5], 7, device).require_grad();
    let head_bias = halves([5], 8, device).require_grad();
    let chosen = vec![0i32, 2, 2, 3, 3, 0, 0, 3, 2, 0, 3, 2];
    let indices = TensorData::new(chosen, [TOKENS, 2]);
    let indices = Tensor::<2, Int>::from_data(indices, (device, DType::I32));

    let (up, down) = (up.require_grad(), down.require_grad());
    let matrices = |weight: &Tensor<3>| -> Operand<3> {
        match packed {
            true => Fp4Tensor::quantize(weight.clone().detach(), 1, &Fp4Scheme::mxfp4()).into(),
            false => weight.clone().into(),
        }
    };
    let routing = expert_routing(indices, EXPERTS);
    // Element-wise neighbours, for lazy backends to fuse around the operations.
    let rows = expert_linear(x.clone() * 2.0, matrices(&up), up_bias.clone(), &routing) * 0.5;
    let sums = expert_combine(
        rows,
        matrices(&down),
        down_bias.clone(),
        scores.clone() * 0.5,
        &routing,
    );
    let output = linear(sums * 0.5, head.clone(), Some(head_bias.clone()));
    let weighed = output.clone() * halves([TOKENS, 5], 9, device);
    // Of the sum, without making one: reductions crash some software Vulkan.
    let grads = weighed.backward();
    let values = |data: TensorData| data.iter::<f32>().collect::<Vec<_>>();
    let mut found = vec![("output", values(output.into_data()))];
    if !packed {
        let matrices = [("up", &up), ("down", &down)];
        found.extend(matrices.map(|(name, t)| (name, values(t.grad(&grads).unwrap().into_data()))));
    }
    let others = [
        ("x", &x),
        ("bias up", &up_bias),
        ("bias down", &down_bias),
        ("scores", &scores),
        ("head", &head),
    ];
    found.extend(others.map(|(name, t)| (name, values(t.grad(&grads).unwrap().into_data()))));
    found.push(("bias", values(head_bias.grad(&grads).unwrap().into_data())));
    found
}

#[test]
fn layers_and_their_gradients_are_those_of_flex() {
    let (_alone, devices) = devices();
    for packed in [false, true] {
        let wanted = run(&Device::flex(), packed);
        for (name, device) in &devices {
            let found = run(device, packed);
            for ((what, found), (_, wanted)) in found.iter().zip(&wanted) {
                assert_eq!(found, wanted, "{name}: {what}, packed: {packed}");
            }
            println!("{name}: {} tensors, packed: {packed}", found.len());
        }
    }
}
