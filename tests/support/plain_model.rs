//! gpt-oss from Burn's own tensor operations alone: what the model's operations are compared with.
#![allow(dead_code)] // Every binary uses a part of it.

use burn::tensor::activation::{log_softmax, sigmoid, softmax};
use burn::tensor::{Bool, Device, IndexingUpdateOp, Int, Tensor, TensorData};
use burn_gpt_oss::{Attention, Block, Experts, GptOss, GptOssConfig, LayerType, RmsNorm, Rope};
use burn_qat_train::MicroBatch;

/// Summed loss of the targets, `[1]`.
pub fn loss(model: &GptOss, batch: &MicroBatch) -> Tensor<1> {
    let hidden = hidden_states(model, batch.input_ids.clone());
    let [sequences, len, width] = hidden.dims();
    let rows = hidden.reshape([sequences * len, width]);
    let rows = rows.select(0, batch.target_rows.clone());
    let logits = model.lm_head.forward(rows);
    let targets = batch.targets.clone().reshape([batch.n_targets(), 1]);
    log_softmax(logits, 1).gather(1, targets).sum().neg()
}

/// `[batch, len] -> [batch, len, hidden_size]`
pub fn hidden_states(model: &GptOss, input_ids: Tensor<2, Int>) -> Tensor<3> {
    let (config, device, [_, len]) = (model.config(), input_ids.device(), input_ids.dims());
    let mut hidden = model.embed_tokens.forward(input_ids);
    for (block, kind) in model.layers.iter().zip(&config.layer_types) {
        let masked = mask(len, window(config, *kind), &device);
        hidden = forward(block, config, hidden, masked);
    }
    norm(&model.norm, config, hidden)
}

fn window(config: &GptOssConfig, kind: LayerType) -> usize {
    match kind {
        LayerType::FullAttention => usize::MAX,
        LayerType::SlidingAttention => config.sliding_window,
    }
}

/// `[1, 1, len, len]`, true = not visible.
fn mask(len: usize, window: usize, device: &Device) -> Tensor<4, Bool> {
    let query = Tensor::<1, Int>::arange(0..len as i64, device).reshape([1, 1, len, 1]);
    let distance = query.clone() - query.swap_dims(2, 3);
    let distant = distance
        .clone()
        .greater_equal_scalar(window.min(len) as i64);
    distance.lower_scalar(0).bool_or(distant)
}

fn forward(
    block: &Block,
    config: &GptOssConfig,
    x: Tensor<3>,
    masked: Tensor<4, Bool>,
) -> Tensor<3> {
    let normed = norm(&block.input_layernorm, config, x.clone());
    let x = x + attention(&block.self_attn, config, normed, masked);
    let dims @ [batch, len, width] = x.dims();
    let tokens = norm(&block.post_attention_layernorm, config, x.clone());
    let tokens = tokens.reshape([batch * len, width]);
    let logits = block.mlp.router.forward(tokens.clone());
    let chosen = match config.num_experts_per_tok {
        top_k if top_k < config.num_local_experts => logits.clone().argtopk(top_k, 1),
        _ => logits.clone().argsort_descending(1),
    };
    let scores = softmax(logits.gather(1, chosen.clone()), 1);
    let experts = experts(&block.mlp.experts, config, tokens, chosen, scores);
    x + experts.reshape(dims)
}

fn norm(norm: &RmsNorm, config: &GptOssConfig, x: Tensor<3>) -> Tensor<3> {
    let mean_square = x.clone().square().mean_dim(2);
    x / (mean_square + config.rms_norm_eps).sqrt() * norm.weight.val().unsqueeze()
}

fn attention(
    attention: &Attention,
    config: &GptOssConfig,
    x: Tensor<3>,
    masked: Tensor<4, Bool>,
) -> Tensor<3> {
    let [batch, len, _] = x.dims();
    let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
    let dim = config.head_dim;
    let split = |x: Tensor<3>, heads| x.reshape([batch, len, heads, dim]);
    let query = split(attention.q_proj.forward(x.clone()), heads);
    let key = split(attention.k_proj.forward(x.clone()), kv_heads);
    let value = split(attention.v_proj.forward(x), kv_heads);
    let query = rotated(config, query).swap_dims(1, 2) * (dim as f64).powf(-0.5);
    let key = repeated(rotated(config, key), heads / kv_heads);
    let value = repeated(value, heads / kv_heads);
    let masked = masked.expand([batch, heads, len, len]);
    let scores = query.matmul(key.swap_dims(2, 3)).mask_fill(masked, -1e30);
    let sink = attention.sinks.val().reshape([1, heads, 1, 1]);
    let scores = Tensor::cat(vec![scores, sink.expand([batch, heads, len, 1])], 3);
    let mixed = softmax(scores, 3).narrow(3, 0, len).matmul(value);
    let mixed = mixed.swap_dims(1, 2).reshape([batch, len, heads * dim]);
    attention.o_proj.forward(mixed)
}

/// `[batch, len, heads, dim]`
fn rotated(config: &GptOssConfig, x: Tensor<4>) -> Tensor<4> {
    let [_, len, _, dim] = x.dims();
    let tables = Rope::new(config).tables(0, len, x.dtype(), &x.device());
    let a = x.clone().narrow(3, 0, dim / 2);
    let b = x.narrow(3, dim / 2, dim / 2);
    let first = a.clone() * tables.cos.clone() - b.clone() * tables.sin.clone();
    Tensor::cat(vec![first, b * tables.cos + a * tables.sin], 3)
}

/// `[batch, len, kv_heads, dim] -> [batch, heads, len, dim]`
fn repeated(x: Tensor<4>, times: usize) -> Tensor<4> {
    let [batch, len, kv_heads, dim] = x.dims();
    let x = x.swap_dims(1, 2).reshape([batch, kv_heads, 1, len, dim]);
    x.expand([batch, kv_heads, times, len, dim])
        .reshape([batch, kv_heads * times, len, dim])
}

/// One expert after the other, each on the tokens that chose it.
fn experts(
    experts: &Experts,
    config: &GptOssConfig,
    x: Tensor<2>,
    chosen: Tensor<2, Int>,
    scores: Tensor<2>,
) -> Tensor<2> {
    let [_, top_k] = chosen.dims();
    let n_choices = chosen.dims().iter().product();
    let chosen: Vec<i64> = chosen.into_data().iter::<i64>().collect();
    let (inner, outer) = (experts.gate_up_proj.val(), experts.down_proj.val());
    let scores = scores.reshape([n_choices]);
    let mut sum = x.zeros_like();
    for expert in 0..config.num_local_experts {
        let choices = (0..n_choices).filter(|choice| chosen[*choice] == expert as i64);
        let choices: Vec<i32> = choices.map(|choice| choice as i32).collect();
        if choices.is_empty() {
            continue;
        }
        let tokens = choices.iter().map(|choice| choice / top_k as i32).collect();
        let (tokens, choices) = (index(tokens, &x), index(choices, &x));
        let rows = x.clone().select(0, tokens.clone());
        let matrix = |all: &Tensor<3>| all.clone().narrow(0, expert, 1).squeeze_dim::<2>(0);
        let bias = |all: Tensor<2>| all.narrow(0, expert, 1);
        let hidden = rows.matmul(matrix(&inner)) + bias(experts.gate_up_proj_bias.val());
        let hidden = swiglu(config, hidden);
        let rows = hidden.matmul(matrix(&outer)) + bias(experts.down_proj_bias.val());
        let rows = rows * scores.clone().select(0, choices).unsqueeze_dim(1);
        sum = sum.select_assign(0, tokens, rows, IndexingUpdateOp::Add);
    }
    sum
}

fn index(values: Vec<i32>, beside: &Tensor<2>) -> Tensor<1, Int> {
    let shape = [values.len()];
    Tensor::from_data(TensorData::new(values, shape), &beside.device())
}

fn swiglu(config: &GptOssConfig, x: Tensor<2>) -> Tensor<2> {
    let [rows, width] = x.dims();
    let pairs = x.reshape([rows, width / 2, 2]);
    let half = |part| pairs.clone().narrow(2, part, 1).reshape([rows, width / 2]);
    let gate = half(0).clamp_max(config.swiglu_limit);
    let up = half(1).clamp(-config.swiglu_limit, config.swiglu_limit);
    gate.clone() * sigmoid(gate * config.swiglu_alpha) * (up + 1.0)
}
