//! The weights that a recipe may pack, round or adapt, with their module paths.

use burn::module::Param;
use burn::tensor::Tensor;
use burn_fp4::LowRankAdapter;

use super::GptOss;
use crate::experts::ExpertWeight;

impl GptOss {
    /// The expert matrices of all layers with their module paths, as
    /// `layers.0.mlp.experts.gate_up_proj`.
    pub fn expert_weights(&self) -> impl Iterator<Item = (String, &ExpertWeight)> {
        let layers = self.layers.iter().enumerate();
        layers.flat_map(|(layer, block)| {
            let weights = block.mlp.experts.weights();
            weights.map(|(name, weight)| (expert_path(layer, name), weight))
        })
    }

    /// [`expert_weights`](Self::expert_weights), to replace them.
    pub fn expert_weights_mut(&mut self) -> impl Iterator<Item = (String, &mut ExpertWeight)> {
        let layers = self.layers.iter_mut().enumerate();
        layers.flat_map(|(layer, block)| {
            let weights = block.mlp.experts.weights_mut();
            weights.map(|(name, weight)| (expert_path(layer, name), weight))
        })
    }

    /// The matrices that are not those of experts, with their module paths: embedding, projections of attention,
    /// routers and head. They can have a [`LowRankAdapter`].
    pub fn matrices(&self) -> Vec<(String, &Param<Tensor<2>>)> {
        let mut matrices = vec![("embed_tokens.weight".into(), &self.embed_tokens.weight)];
        for (layer, block) in self.layers.iter().enumerate() {
            let attention = &block.self_attn;
            matrices.extend(
                [
                    ("self_attn.q_proj", &attention.q_proj),
                    ("self_attn.k_proj", &attention.k_proj),
                    ("self_attn.v_proj", &attention.v_proj),
                    ("self_attn.o_proj", &attention.o_proj),
                    ("mlp.router", &block.mlp.router),
                ]
                .map(|(name, linear)| (format!("layers.{layer}.{name}.weight"), &linear.weight)),
            );
        }
        matrices.push(("lm_head.weight".into(), &self.lm_head.weight));
        matrices
    }

    /// [`matrices`](Self::matrices), to replace them.
    pub fn matrices_mut(&mut self) -> Vec<(String, &mut Param<Tensor<2>>)> {
        let mut matrices = vec![("embed_tokens.weight".into(), &mut self.embed_tokens.weight)];
        for (layer, block) in self.layers.iter_mut().enumerate() {
            let attention = &mut block.self_attn;
            matrices.extend(
                [
                    ("self_attn.q_proj", &mut attention.q_proj),
                    ("self_attn.k_proj", &mut attention.k_proj),
                    ("self_attn.v_proj", &mut attention.v_proj),
                    ("self_attn.o_proj", &mut attention.o_proj),
                    ("mlp.router", &mut block.mlp.router),
                ]
                .map(|(name, linear)| {
                    (format!("layers.{layer}.{name}.weight"), &mut linear.weight)
                }),
            );
        }
        matrices.push(("lm_head.weight".into(), &mut self.lm_head.weight));
        matrices
    }

    /// The same model without float copies of rounded experts, see
    /// [`Experts::multiplying_codes`](crate::Experts::multiplying_codes).
    pub fn multiplying_codes(mut self) -> Self {
        for block in &mut self.layers {
            block.mlp.experts = block.mlp.experts.clone().multiplying_codes();
        }
        self
    }

    /// Whether a weight has a low-rank adapter. Then nothing else trains.
    pub fn has_adapters(&self) -> bool {
        let mut matrices = self.matrices().into_iter();
        matrices.any(|(_, weight)| weight.reparameterization::<LowRankAdapter<2>>().is_some())
            || self
                .expert_weights()
                .any(|(_, weight)| weight.adapter().is_some())
    }
}

fn expert_path(layer: usize, name: &str) -> String {
    format!("layers.{layer}.mlp.experts.{name}")
}
