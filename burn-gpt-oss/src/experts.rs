mod weight;

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use burn_fp4::{
    ActivationQuantizer, ExpertRouting, Operand, expert_combine, expert_combine_gradients,
    expert_linear, expert_routing,
};

use crate::config::GptOssConfig;
use crate::ops::clamped_swiglu;
use crate::router::RouterOutput;

pub use weight::ExpertWeight;

/// The expert matrices of one block: dense as in the BF16 checkpoints, input axis before output axis,
/// or packed.
///
/// Quantizers and adapters of weights belong to [`ExpertWeight`].
#[derive(Module, Debug)]
pub struct Experts {
    /// `[num_local_experts, hidden_size, 2 * intermediate_size]`; even columns are the gate, odd
    /// columns the up projection.
    pub gate_up_proj: ExpertWeight,
    /// `[num_local_experts, 2 * intermediate_size]`
    pub gate_up_proj_bias: Param<Tensor<2>>,
    /// `[num_local_experts, intermediate_size, hidden_size]`
    pub down_proj: ExpertWeight,
    /// `[num_local_experts, hidden_size]`
    pub down_proj_bias: Param<Tensor<2>>,
    /// Quantizes what all experts multiply with `gate_up_proj`, for W4A4 and W4A8.
    pub gate_up_proj_input_quantizer: Option<ActivationQuantizer>,
    /// Quantizes what they multiply with `down_proj`.
    pub down_proj_input_quantizer: Option<ActivationQuantizer>,
    swiglu_limit: f64,
    swiglu_alpha: f64,
    multiplies_codes: bool,
}

impl Experts {
    /// Fresh weights.
    pub fn new(config: &GptOssConfig, device: &Device) -> Self {
        let init = Initializer::Normal {
            mean: 0.0,
            std: config.initializer_range,
        };
        let (experts, hidden, inner) = (
            config.num_local_experts,
            config.hidden_size,
            config.intermediate_size,
        );
        Self {
            gate_up_proj: ExpertWeight::Dense(init.init([experts, hidden, 2 * inner], device)),
            gate_up_proj_bias: Initializer::Zeros.init([experts, 2 * inner], device),
            down_proj: ExpertWeight::Dense(init.init([experts, inner, hidden], device)),
            down_proj_bias: Initializer::Zeros.init([experts, hidden], device),
            gate_up_proj_input_quantizer: None,
            down_proj_input_quantizer: None,
            swiglu_limit: config.swiglu_limit,
            swiglu_alpha: config.swiglu_alpha,
            multiplies_codes: false,
        }
    }

    /// Runs each expert on the tokens routed to it and sums the weighted results per token.
    ///
    /// # Shapes
    /// - x: `[tokens, hidden_size]`
    /// - output: `[tokens, hidden_size]`
    pub fn forward(&self, x: Tensor<2>, routed: &RouterOutput) -> Tensor<2> {
        let routing = self.routing(routed);
        let active = self.intermediate(x, &routing);
        self.combined(active, routed.scores.clone(), &routing)
    }

    /// The weighted results of all experts, summed per token, from what [`intermediate`](Self::intermediate) gives.
    ///
    /// # Shapes
    /// - active: `[tokens * num_experts_per_tok, intermediate_size]`
    /// - scores: `[tokens, num_experts_per_tok]`
    /// - output: `[tokens, hidden_size]`
    pub fn combined(
        &self,
        active: Tensor<2>,
        scores: Tensor<2>,
        routing: &ExpertRouting,
    ) -> Tensor<2> {
        // What comes out of SwiGLU has a few large values among small ones, of which eight bits would lose
        // too much.
        let (weight, bias) = (self.operand(&self.down_proj), self.down_proj_bias.val());
        expert_combine(active, weight, bias, scores, routing)
    }

    /// Zeros that have the gradients of [`combined`](Self::combined), without its products.
    pub fn combined_gradients(
        &self,
        active: Tensor<2>,
        scores: Tensor<2>,
        routing: &ExpertRouting,
    ) -> Tensor<2> {
        let (weight, bias) = (self.operand(&self.down_proj), self.down_proj_bias.val());
        expert_combine_gradients(active, weight, bias, scores, routing)
    }

    fn operand(&self, weight: &ExpertWeight) -> Operand<3> {
        match self.multiplies_codes {
            true => weight.rounded_matrices(),
            false => weight.matrices(),
        }
    }

    /// Which rows each expert has.
    pub fn routing(&self, routed: &RouterOutput) -> ExpertRouting {
        expert_routing(routed.indices.clone(), self.down_proj_bias.dims()[0])
    }

    /// What `down_proj` is multiplied with: a row for every token and each of its experts, in the order of the routing.
    ///
    /// # Shapes
    /// - x: `[tokens, hidden_size]`
    /// - output: `[tokens * num_experts_per_tok, intermediate_size]`
    pub fn intermediate(&self, x: Tensor<2>, routing: &ExpertRouting) -> Tensor<2> {
        // Before the tokens are repeated for their experts: the same result for less work.
        let tokens = quantized(&self.gate_up_proj_input_quantizer, x);
        let (weight, bias) = (
            self.operand(&self.gate_up_proj),
            self.gate_up_proj_bias.val(),
        );
        let inner = expert_linear(tokens, weight, bias, routing);
        let active = clamped_swiglu(inner, self.swiglu_limit as f32, self.swiglu_alpha as f32);
        quantized(&self.down_proj_input_quantizer, active)
    }

    /// The same experts without float copies of rounded matrices: rows are multiplied with codes, which are computed
    /// anew in every pass. The gradient passes straight through.
    pub fn multiplying_codes(self) -> Self {
        Self {
            multiplies_codes: true,
            ..self
        }
    }

    /// The two matrices with the names of their fields.
    pub fn weights(&self) -> [(&'static str, &ExpertWeight); 2] {
        [
            ("gate_up_proj", &self.gate_up_proj),
            ("down_proj", &self.down_proj),
        ]
    }

    /// The two matrices with the names of their fields, to replace them.
    pub fn weights_mut(&mut self) -> [(&'static str, &mut ExpertWeight); 2] {
        [
            ("gate_up_proj", &mut self.gate_up_proj),
            ("down_proj", &mut self.down_proj),
        ]
    }
}

fn quantized(quantizer: &Option<ActivationQuantizer>, x: Tensor<2>) -> Tensor<2> {
    match quantizer {
        Some(quantizer) => quantizer.forward(x),
        None => x,
    }
}
