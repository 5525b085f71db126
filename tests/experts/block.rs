//! The whole block of experts: gradients against differences of the block in f64.

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor};
use burn_gpt_oss::{ExpertWeight, Experts, GptOssConfig, RouterOutput};

use crate::case::{Case, cases, sample, tensor, values};

/// Token rows, gate-up and down matrices with their biases, scores.
type Parts = [Vec<f64>; 6];

fn parts(case: &Case) -> Parts {
    let Case {
        d_input: hidden,
        d_output: inner,
        experts: e,
        ..
    } = *case;
    let small = |n, seed| {
        sample(n, seed)
            .into_iter()
            .map(|value| value / 8.0)
            .collect()
    };
    [
        small(case.tokens() * hidden, 11),
        small(e * hidden * 2 * inner, 12),
        small(e * 2 * inner, 13),
        small(e * inner * hidden, 14),
        small(e * hidden, 15),
        small(case.chosen.len(), 16),
    ]
}

/// `sum(seed * output)` by the definition, in f64.
fn loss(case: &Case, parts: &Parts, seed: &[f64], limit: f64) -> f64 {
    let Case {
        d_input: hidden,
        d_output: inner,
        top_k,
        ..
    } = *case;
    let [x, gate_up, gate_up_bias, down, down_bias, scores] = parts;
    let mut sum = 0.0;
    for (choice, &expert) in case.chosen.iter().enumerate() {
        let (token, expert) = (choice / top_k, expert as usize);
        let x = &x[token * hidden..][..hidden];
        let gate_up = &gate_up[expert * hidden * 2 * inner..];
        let wide = |column: usize| {
            let terms = x
                .iter()
                .enumerate()
                .map(|(i, x)| x * gate_up[i * 2 * inner + column]);
            terms.sum::<f64>() + gate_up_bias[expert * 2 * inner + column]
        };
        let active: Vec<f64> = (0..inner)
            .map(|i| {
                let (gate, up) = (wide(2 * i).min(limit), wide(2 * i + 1).clamp(-limit, limit));
                gate / (1.0 + (-f64::from(1.702f32) * gate).exp()) * (up + 1.0)
            })
            .collect();
        let down = &down[expert * inner * hidden..];
        for column in 0..hidden {
            let terms = active
                .iter()
                .enumerate()
                .map(|(i, a)| a * down[i * hidden + column]);
            let value = terms.sum::<f64>() + down_bias[expert * hidden + column];
            sum += seed[token * hidden + column] * scores[choice] * value;
        }
    }
    sum
}

#[test]
fn gradients_of_the_block_are_differences_of_its_definition() {
    let device = Device::flex().autodiff();
    for case in cases().into_iter().filter(|case| case.d_input < 100) {
        let Case {
            d_input: hidden,
            d_output: inner,
            experts: e,
            top_k,
            ..
        } = case;
        let mut config = GptOssConfig::gpt_oss_20b();
        (config.hidden_size, config.intermediate_size) = (hidden, inner);
        (config.num_local_experts, config.num_experts_per_tok) = (e, top_k);
        let parts = parts(&case);
        let f32s = |values: &[f64], shape| tensor(values, shape, &device, DType::F32);
        let mut experts = Experts::new(&config, &device);
        let dense = |values: &[f64], shape: [usize; 3]| {
            ExpertWeight::Dense(Param::from_tensor(tensor(
                values,
                shape,
                &device,
                DType::F32,
            )))
        };
        experts.gate_up_proj = dense(&parts[1], [e, hidden, 2 * inner]);
        experts.gate_up_proj_bias = Param::from_tensor(f32s(&parts[2], [e, 2 * inner]));
        experts.down_proj = dense(&parts[3], [e, inner, hidden]);
        experts.down_proj_bias = Param::from_tensor(f32s(&parts[4], [e, hidden]));
        let x: Tensor<2> = f32s(&parts[0], [case.tokens(), hidden]).require_grad();
        let scores: Tensor<2> = f32s(&parts[5], [case.tokens(), top_k]).require_grad();
        let routed = RouterOutput {
            logits: Tensor::zeros([case.tokens(), e], &device),
            indices: case.indices(&device, DType::I32),
            scores: scores.clone(),
        };
        let seed = sample(case.tokens() * hidden, 17);
        let output = experts.forward(x.clone(), &routed);
        let found = values((output.clone() * f32s(&seed, output.dims())).sum())[0];
        let grads = (output.clone() * f32s(&seed, output.dims()))
            .sum()
            .backward();
        let of = |tensor: &Tensor<2>| values(tensor.grad(&grads).unwrap());
        let dense =
            |weight: &ExpertWeight| values(weight.dense().unwrap().val().grad(&grads).unwrap());
        let gradients: Parts = [
            of(&x),
            dense(&experts.gate_up_proj),
            of(&experts.gate_up_proj_bias.val()),
            dense(&experts.down_proj),
            of(&experts.down_proj_bias.val()),
            of(&scores),
        ];

        // A thousand terms of about one, each rounded.
        let exact = loss(&case, &parts, &seed, config.swiglu_limit);
        assert!(
            (found - exact).abs() < 1e-4 * (1.0 + exact.abs()),
            "{}: {found} {exact}",
            case.name
        );
        for part in 0..parts.len() {
            // One direction through all elements; differences cancel all but third derivatives.
            let direction = sample(parts[part].len(), 20 + part);
            let step = 1e-5;
            let at = |sign: f64| {
                let mut moved = parts.clone();
                for (value, way) in moved[part].iter_mut().zip(&direction) {
                    *value += sign * step * way;
                }
                loss(&case, &moved, &seed, config.swiglu_limit)
            };
            let slope = (at(1.0) - at(-1.0)) / (2.0 * step);
            let terms = gradients[part].iter().zip(&direction);
            let sum: f64 = terms.clone().map(|(gradient, way)| gradient * way).sum();
            let size: f64 = terms.map(|(gradient, way)| (gradient * way).abs()).sum();
            // Elements of gradients are sums of up to 100 terms: 300 roundings of their size
            // leave room for what cancels in them.
            let bound = 300.0 * 2f64.powi(-24) * size + 1e-7;
            let name = case.name;
            assert!(
                (sum - slope).abs() <= bound,
                "{name}, {part}: {sum} {slope} {bound}"
            );
        }
    }
}
