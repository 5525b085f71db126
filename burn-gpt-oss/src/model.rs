mod activations;
mod packing;
mod weights;

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig};
use burn::tensor::{Bool, Device, Int, Tensor};

use crate::attention::Attention;
use crate::config::{GptOssConfig, LayerType};
use crate::experts::Experts;
use crate::kv_cache::{CachedStep, KvCache, LayerCache};
use crate::norm::RmsNorm;
use crate::ops::{Visibility, embedding};
use crate::projection::project;
use crate::rope::{Rope, RopeTables, positions_in_documents};
use crate::router::{RouterOutput, route, router_projection};

/// OpenAI's gpt-oss: a decoder with sink attention and a mixture of experts in every block.
///
/// Module paths are the names of the published tensors without the leading `model.`, so
/// `layers.0.self_attn.q_proj.weight` is the tensor `model.layers.0.self_attn.q_proj.weight`;
/// [`Linear`] weights are transposed, `[in, out]`, as everywhere in Burn.
#[derive(Module, Debug)]
pub struct GptOss {
    /// Token embedding, `[vocab_size, hidden_size]`.
    pub embed_tokens: Embedding,
    /// The blocks.
    pub layers: Vec<Block>,
    /// Norm before the head.
    pub norm: RmsNorm,
    /// Projection to logits, `[hidden_size, vocab_size]`, no bias.
    pub lm_head: Linear,
    #[module(skip)]
    config: GptOssConfig,
}

/// One block: attention and experts, each behind a norm and added to the residual stream.
#[derive(Module, Debug)]
pub struct Block {
    /// Norm before attention.
    pub input_layernorm: RmsNorm,
    /// Attention with sinks.
    pub self_attn: Attention,
    /// Norm before the experts.
    pub post_attention_layernorm: RmsNorm,
    /// Router and experts.
    pub mlp: Mlp,
    #[module(skip)]
    window: Option<usize>,
}

/// Router and experts of one block.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[hidden_size, num_local_experts]` with bias.
    pub router: Linear,
    /// The expert matrices.
    pub experts: Experts,
    num_experts_per_tok: usize,
}

/// Positions and visibility of the tokens of a batch, the same for all blocks.
#[derive(Clone, Debug)]
pub struct SequenceContext {
    rope: RopeTables,
    visibility: Visibility,
}

/// What one block computed, for inspection and for the load-balancing loss.
#[derive(Clone, Debug)]
pub struct BlockOutput {
    /// Residual stream after the block, `[batch, len, hidden_size]`.
    pub hidden: Tensor<3>,
    /// Attention before the residual addition, `[batch, len, hidden_size]`.
    pub attention: Tensor<3>,
    /// Experts before the residual addition, `[batch, len, hidden_size]`.
    pub experts: Tensor<3>,
    /// The routing, rows in batch-major order of tokens.
    pub router: RouterOutput,
}

impl GptOssConfig {
    /// A model with fresh weights, created lazily: loading a checkpoint replaces them without
    /// allocating them first.
    pub fn init(&self, device: &Device) -> GptOss {
        let init = Initializer::Normal {
            mean: 0.0,
            std: self.initializer_range,
        };
        GptOss {
            embed_tokens: EmbeddingConfig::new(self.vocab_size, self.hidden_size)
                .with_initializer(init.clone())
                .init(device),
            layers: self
                .layer_types
                .iter()
                .map(|kind| Block::new(self, *kind, device))
                .collect(),
            norm: RmsNorm::new(self.hidden_size, self.rms_norm_eps, device),
            lm_head: LinearConfig::new(self.hidden_size, self.vocab_size)
                .with_bias(false)
                .with_initializer(init)
                .init(device),
            config: self.clone(),
        }
    }
}

impl GptOss {
    /// The architecture.
    pub fn config(&self) -> &GptOssConfig {
        &self.config
    }

    /// Logits of every token.
    ///
    /// # Shapes
    /// - input_ids: `[batch, len]`
    /// - attention_mask: `[batch, len]`, true = a real token; padding on either side. Positions
    ///   count from the first column, padding included.
    /// - output: `[batch, len, vocab_size]`
    pub fn forward(
        &self,
        input_ids: Tensor<2, Int>,
        attention_mask: Option<Tensor<2, Bool>>,
    ) -> Tensor<3> {
        let hidden = self.hidden_states(input_ids, attention_mask, |_| {});
        self.logits(hidden)
    }

    /// Logits from what [`hidden_states`](Self::hidden_states) gives.
    ///
    /// # Shapes
    /// - hidden: `[..., hidden_size]`
    /// - output: `[..., vocab_size]`
    pub fn logits<const D: usize>(&self, hidden: Tensor<D>) -> Tensor<D> {
        project(&self.lm_head, hidden)
    }

    /// The residual stream after the final norm, with each block's output shown to `observe`.
    ///
    /// # Shapes
    /// - input_ids, attention_mask: as in [`forward`](Self::forward)
    /// - output: `[batch, len, hidden_size]`
    pub fn hidden_states(
        &self,
        input_ids: Tensor<2, Int>,
        attention_mask: Option<Tensor<2, Bool>>,
        observe: impl FnMut(&BlockOutput),
    ) -> Tensor<3> {
        let [_, len] = input_ids.dims();
        let hidden = self.embedded(input_ids);
        let context = self.context(len, attention_mask, &hidden);
        self.blocks(hidden, &context, observe)
    }

    /// [`forward`](Self::forward) of rows that hold several documents, one behind the other: each gets
    /// the logits it would get alone. Padding is a document like any other.
    ///
    /// # Shapes
    /// - input_ids: `[batch, len]`
    /// - documents: `[batch, len]`, a number per token, not negative, the same for all of a document
    ///   and another one for the next
    /// - output: `[batch, len, vocab_size]`
    pub fn forward_packed(
        &self,
        input_ids: Tensor<2, Int>,
        documents: Tensor<2, Int>,
    ) -> Tensor<3> {
        let hidden = self.packed_hidden_states(input_ids, documents, |_| {});
        self.logits(hidden)
    }

    /// [`hidden_states`](Self::hidden_states) of rows that hold several documents.
    ///
    /// # Shapes
    /// - input_ids, documents: as in [`forward_packed`](Self::forward_packed)
    /// - output: `[batch, len, hidden_size]`
    pub fn packed_hidden_states(
        &self,
        input_ids: Tensor<2, Int>,
        documents: Tensor<2, Int>,
        observe: impl FnMut(&BlockOutput),
    ) -> Tensor<3> {
        let hidden = self.embedded(input_ids);
        let context = self.packed_context(documents, &hidden);
        self.blocks(hidden, &context, observe)
    }

    /// Runs the next tokens of every sequence in the cache and adds their keys and values to it. Returns
    /// the residual stream of these tokens after the final norm.
    ///
    /// # Shapes
    /// - input_ids: `[batch, len]`, a row per row of the cache
    /// - output: `[batch, len, hidden_size]`
    ///
    /// # Panics
    /// If there are more or fewer rows, or the cache is that of a model with other layers.
    pub fn forward_cached(&self, input_ids: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<3> {
        let [batch, len] = input_ids.dims();
        assert_eq!(batch, cache.n_rows(), "rows of the cache");
        let mut hidden = self.embedded(input_ids);
        let (layers, mut step) = cache.step(len, &Rope::new(&self.config), &hidden);
        assert_eq!(layers.len(), self.layers.len(), "layers of the cache");
        for (block, layer) in self.layers.iter().zip(layers) {
            hidden = block.forward_cached(hidden, layer, &mut step);
        }
        self.norm.forward(hidden)
    }

    /// The rows of the embedding for every token.
    ///
    /// # Shapes
    /// - input_ids: `[batch, len]`
    /// - output: `[batch, len, hidden_size]`
    pub fn embedded(&self, input_ids: Tensor<2, Int>) -> Tensor<3> {
        let [batch, len] = input_ids.dims();
        let ids = input_ids.reshape([batch * len]);
        // A table of 16-bit floats may stand beside a residual stream in float32.
        let dtype = self.norm.weight.val().dtype();
        let rows = embedding(self.embed_tokens.weight.val(), ids).cast(dtype);
        let [_, width] = rows.dims();
        rows.reshape([batch, len, width])
    }

    fn blocks(
        &self,
        mut hidden: Tensor<3>,
        context: &SequenceContext,
        mut observe: impl FnMut(&BlockOutput),
    ) -> Tensor<3> {
        for block in &self.layers {
            let output = block.forward(hidden, context);
            observe(&output);
            hidden = output.hidden;
        }
        self.norm.forward(hidden)
    }
}

impl GptOss {
    /// What the blocks need to know about sequences of `len` tokens, for hidden states with the dtype
    /// and on the device of `hidden`.
    ///
    /// # Shapes
    /// - attention_mask: as in [`forward`](Self::forward)
    pub fn context(
        &self,
        len: usize,
        attention_mask: Option<Tensor<2, Bool>>,
        hidden: &Tensor<3>,
    ) -> SequenceContext {
        SequenceContext {
            rope: Rope::new(&self.config).tables(0, len, hidden.dtype(), &hidden.device()),
            visibility: Visibility::new(attention_mask, None),
        }
    }

    /// [`context`](Self::context) of rows that hold several documents.
    ///
    /// # Shapes
    /// - documents: as in [`forward_packed`](Self::forward_packed)
    pub fn packed_context(&self, documents: Tensor<2, Int>, hidden: &Tensor<3>) -> SequenceContext {
        let [_, len] = documents.dims();
        let context = self.context(len, None, hidden);
        SequenceContext {
            rope: context.rope.at(positions_in_documents(documents.clone())),
            visibility: Visibility::new(None, Some(documents)),
        }
    }
}

impl Block {
    fn new(config: &GptOssConfig, layer_type: LayerType, device: &Device) -> Self {
        let norm = || RmsNorm::new(config.hidden_size, config.rms_norm_eps, device);
        Self {
            input_layernorm: norm(),
            self_attn: Attention::new(config, device),
            post_attention_layernorm: norm(),
            mlp: Mlp {
                router: router_projection(config, device),
                experts: Experts::new(config, device),
                num_experts_per_tok: config.num_experts_per_tok,
            },
            window: match layer_type {
                LayerType::SlidingAttention => Some(config.sliding_window),
                LayerType::FullAttention => None,
            },
        }
    }

    /// Adds attention and experts to the residual stream.
    ///
    /// # Shapes
    /// - x: `[batch, len, hidden_size]`
    pub fn forward(&self, x: Tensor<3>, context: &SequenceContext) -> BlockOutput {
        let visibility = context.visibility.clone().with_window(self.window);
        self.forward_with(x, |normed| {
            self.self_attn.forward(normed, &context.rope, &visibility)
        })
    }

    /// The first half of [`forward`](Self::forward): adds attention to the residual stream.
    ///
    /// # Shapes
    /// - x, output: `[batch, len, hidden_size]`
    pub fn attended(&self, x: Tensor<3>, context: &SequenceContext) -> Tensor<3> {
        let visibility = context.visibility.clone().with_window(self.window);
        let normed = self.input_layernorm.forward(x.clone());
        x + self.self_attn.forward(normed, &context.rope, &visibility)
    }

    /// What the second half begins with: the tokens as the experts see them, and which experts they go to.
    ///
    /// # Shapes
    /// - x: `[batch, len, hidden_size]`, after attention
    /// - output: `[batch * len, hidden_size]`
    pub fn routed(&self, x: Tensor<3>) -> (Tensor<2>, RouterOutput) {
        let [batch, len, width] = x.dims();
        let tokens = self.post_attention_layernorm.forward(x);
        self.mlp.routed(tokens.reshape([batch * len, width]))
    }

    /// [`forward`](Self::forward) of tokens behind those in a cache.
    pub(crate) fn forward_cached(
        &self,
        x: Tensor<3>,
        cache: &mut LayerCache,
        step: &mut CachedStep<'_>,
    ) -> Tensor<3> {
        let attend = |normed| self.self_attn.forward_cached(normed, cache, step);
        self.forward_with(x, attend).hidden
    }

    fn forward_with(
        &self,
        x: Tensor<3>,
        attend: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> BlockOutput {
        let attention = attend(self.input_layernorm.forward(x.clone()));
        let x = x + attention.clone();
        let (experts, router) = self
            .mlp
            .forward(self.post_attention_layernorm.forward(x.clone()));
        BlockOutput {
            hidden: x + experts.clone(),
            attention,
            experts,
            router,
        }
    }
}

impl Mlp {
    /// Routes every token to its experts.
    ///
    /// # Shapes
    /// - x: `[batch, len, hidden_size]`
    pub fn forward(&self, x: Tensor<3>) -> (Tensor<3>, RouterOutput) {
        let dims @ [batch, len, width] = x.dims();
        let (tokens, routed) = self.routed(x.reshape([batch * len, width]));
        (self.experts.forward(tokens, &routed).reshape(dims), routed)
    }

    fn routed(&self, tokens: Tensor<2>) -> (Tensor<2>, RouterOutput) {
        let routed = route(&self.router, tokens.clone(), self.num_experts_per_tok);
        (tokens, routed)
    }
}
