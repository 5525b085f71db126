use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, DType, Device, Int, Tensor};

use crate::config::GptOssConfig;
use crate::ops::ordered_sum;
use crate::projection::project;

/// Which experts each token goes to, and with what weight.
#[derive(Clone, Debug)]
pub struct RouterOutput {
    /// Logits over all experts, `[tokens, num_local_experts]`.
    pub logits: Tensor<2>,
    /// Chosen experts in descending order of their logits, `[tokens, num_experts_per_tok]`.
    pub indices: Tensor<2, Int>,
    /// Softmax over the chosen logits alone, `[tokens, num_experts_per_tok]`.
    pub scores: Tensor<2>,
}

/// The router's projection, `[hidden_size, num_local_experts]` with bias.
pub(crate) fn router_projection(config: &GptOssConfig, device: &Device) -> Linear {
    let init = Initializer::Normal {
        mean: 0.0,
        std: config.initializer_range,
    };
    LinearConfig::new(config.hidden_size, config.num_local_experts)
        .with_initializer(init)
        .init(device)
}

/// Picks the `top_k` experts of each token.
///
/// Indices carry no gradient; the weights carry one through the chosen logits.
///
/// # Shapes
/// - x: `[tokens, hidden_size]`
pub(crate) fn route(projection: &Linear, x: Tensor<2>, top_k: usize) -> RouterOutput {
    let logits = project(projection, x);
    let experts = logits.dims()[1];
    // `argtopk` wants fewer than all entries, and stays on the device where it can be used.
    let indices = if top_k < experts {
        logits.clone().argtopk(top_k, 1)
    } else {
        logits.clone().argsort_descending(1)
    };
    let chosen = logits.clone().gather(1, indices.clone());
    // Not `softmax`, which rounds differently with and without autodiff: a layer that is recomputed
    // with a graph must give what it gave without.
    let weights = (chosen.clone() - chosen.max_dim(1).detach()).exp();
    let scores = weights.clone() / weights.sum_dim(1);
    RouterOutput {
        logits,
        indices,
        scores,
    }
}

/// Load-balancing loss over all layers, `E * sum_e f_e P_e` (Switch Transformer, eq. 4 to 6, as
/// pooled in transformers): equals `num_experts_per_tok` when the experts are used evenly.
///
/// # Shapes
/// - logits: per layer `[batch * len, num_local_experts]`
/// - attention_mask: `[batch, len]`, true = a real token; padding does not count
/// - output: `[1]`
pub fn router_aux_loss(
    logits: &[Tensor<2>],
    top_k: usize,
    attention_mask: Option<Tensor<2, Bool>>,
) -> Tensor<1> {
    let all = Tensor::cat(logits.to_vec(), 0).cast(DType::F32);
    let [rows, experts] = all.dims();
    let weight = match attention_mask {
        Some(mask) => {
            let [batch, len] = mask.dims();
            let per_layer = mask.float().reshape([batch * len, 1]);
            Tensor::cat(vec![per_layer; logits.len()], 0)
        }
        None => Tensor::ones([rows, 1], &all.device()),
    };
    let chosen: Tensor<2, Int> = if top_k < experts {
        all.clone().detach().argtopk(top_k, 1)
    } else {
        all.clone().detach().argsort_descending(1)
    };
    let assigned = chosen
        .one_hot::<3>(experts)
        .float()
        .sum_dim(1)
        .reshape([rows, experts]);
    let total = ordered_sum(weight.clone());
    let fraction = (assigned * weight.clone()).sum_dim(0) / total.clone().unsqueeze();
    let probability = (softmax(all, 1) * weight).sum_dim(0) / total.unsqueeze();
    ordered_sum(fraction * probability) * experts as f64
}
