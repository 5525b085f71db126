use crate::config::GptOssConfig;

/// How a tensor lies in the module compared to the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorLayout {
    /// The same in both.
    Same,
    /// A linear weight: `[out, in]` in the checkpoint, `[in, out]` in the module.
    Transposed,
    /// An expert matrix: `[experts, in, out]` in the module and in BF16 checkpoints, `_blocks`
    /// `[experts, out, in/32, 16]` and `_scales` `[experts, out, in/32]` in MXFP4 ones.
    Experts,
}

/// One parameter of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Path in the module, as `layers.0.self_attn.q_proj.weight`.
    pub path: String,
    /// Name in the checkpoint; expert matrices in MXFP4 add `_blocks` and `_scales`.
    pub name: String,
    /// Shape in the module.
    pub shape: Vec<usize>,
    /// How the layout in the checkpoint differs from that in the module.
    pub layout: TensorLayout,
}

impl TensorSpec {
    fn new(path: String, shape: &[usize], layout: TensorLayout) -> Self {
        let name = checkpoint_name(&path);
        Self {
            path,
            name,
            shape: shape.to_vec(),
            layout,
        }
    }

    /// Shape of the dense tensor in a checkpoint file.
    pub fn file_shape(&self) -> Vec<usize> {
        match self.layout {
            TensorLayout::Transposed => self.shape.iter().rev().copied().collect(),
            TensorLayout::Same | TensorLayout::Experts => self.shape.clone(),
        }
    }

    /// Logical shape of the packed tensor, block axis last: `[experts, out, in]`.
    pub fn packed_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        shape.swap(1, 2);
        shape
    }

    /// Number of weights.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Name of a parameter in the checkpoint: its module path behind `model.`, except for the head.
pub fn checkpoint_name(path: &str) -> String {
    if path.starts_with("lm_head.") {
        path.to_string()
    } else {
        format!("model.{path}")
    }
}

/// All parameters of a model, sorted by checkpoint name.
pub fn tensor_specs(config: &GptOssConfig) -> Vec<TensorSpec> {
    use TensorLayout::{Same, Transposed};
    let (vocab, hidden) = (config.vocab_size, config.hidden_size);
    let mut specs = vec![
        TensorSpec::new("embed_tokens.weight".into(), &[vocab, hidden], Same),
        TensorSpec::new("norm.weight".into(), &[hidden], Same),
        TensorSpec::new("lm_head.weight".into(), &[hidden, vocab], Transposed),
    ];
    for layer in 0..config.num_hidden_layers {
        specs.extend(layer_specs(config, layer));
    }
    specs.sort_by(|a, b| a.name.cmp(&b.name));
    specs
}

fn layer_specs(config: &GptOssConfig, layer: usize) -> Vec<TensorSpec> {
    use TensorLayout::{Experts, Same, Transposed};
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let query = config.num_attention_heads * config.head_dim;
    let key = config.num_key_value_heads * config.head_dim;
    let experts = config.num_local_experts;
    let spec = |name: &str, shape: &[usize], layout| {
        TensorSpec::new(format!("layers.{layer}.{name}"), shape, layout)
    };
    vec![
        spec("input_layernorm.weight", &[hidden], Same),
        spec("post_attention_layernorm.weight", &[hidden], Same),
        spec("self_attn.q_proj.weight", &[hidden, query], Transposed),
        spec("self_attn.q_proj.bias", &[query], Same),
        spec("self_attn.k_proj.weight", &[hidden, key], Transposed),
        spec("self_attn.k_proj.bias", &[key], Same),
        spec("self_attn.v_proj.weight", &[hidden, key], Transposed),
        spec("self_attn.v_proj.bias", &[key], Same),
        spec("self_attn.o_proj.weight", &[query, hidden], Transposed),
        spec("self_attn.o_proj.bias", &[hidden], Same),
        spec("self_attn.sinks", &[config.num_attention_heads], Same),
        spec("mlp.router.weight", &[hidden, experts], Transposed),
        spec("mlp.router.bias", &[experts], Same),
        spec(
            "mlp.experts.gate_up_proj",
            &[experts, hidden, 2 * inner],
            Experts,
        ),
        spec("mlp.experts.gate_up_proj_bias", &[experts, 2 * inner], Same),
        spec("mlp.experts.down_proj", &[experts, inner, hidden], Experts),
        spec("mlp.experts.down_proj_bias", &[experts, hidden], Same),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_cover_every_parameter() {
        let config = GptOssConfig::gpt_oss_20b();
        let total: u64 = tensor_specs(&config)
            .iter()
            .map(|spec| spec.len() as u64)
            .sum();
        assert_eq!(
            total,
            config.num_expert_weights() + config.num_dense_weights()
        );
    }
}
