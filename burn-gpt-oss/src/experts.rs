mod weight;

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use burn_fp4::ActivationQuantizer;

use crate::config::GptOssConfig;
use crate::router::RouterOutput;

pub use weight::ExpertWeight;

/// The expert matrices of one block: dense as in the BF16 checkpoints, input axis before output axis,
/// or packed.
///
/// Quantizers of weights and adapters enter through Burn's `Reparameterization` on the two dense
/// matrices.
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
}

/// Tokens grouped by expert: one row per (token, chosen expert), rows of one expert together.
struct Groups {
    /// Rows per expert.
    counts: Vec<usize>,
    /// Token of each row, `[rows]`.
    token: Tensor<1, Int>,
    /// Position of each row in the flattened `[tokens, top_k]` choices, `[rows]`.
    choice: Tensor<1, Int>,
    /// Expert of each row, `[rows]`.
    expert: Tensor<1, Int>,
}

impl Groups {
    fn new(indices: &Tensor<2, Int>, num_experts: usize) -> Self {
        let [_, top_k] = indices.dims();
        let device = indices.device();
        let chosen: Vec<i64> = indices.to_data().iter::<i64>().collect();
        let mut rows: Vec<Vec<i32>> = vec![Vec::new(); num_experts];
        for (choice, expert) in chosen.iter().enumerate() {
            rows[*expert as usize].push(choice as i32);
        }
        let counts: Vec<usize> = rows.iter().map(Vec::len).collect();
        let expert: Vec<i32> = counts
            .iter()
            .enumerate()
            .flat_map(|(e, n)| std::iter::repeat_n(e as i32, *n))
            .collect();
        let choice: Vec<i32> = rows.concat();
        let token: Vec<i32> = choice.iter().map(|c| c / top_k as i32).collect();
        let tensor = |values: Vec<i32>| {
            let len = values.len();
            Tensor::from_data(TensorData::new(values, [len]), &device)
        };
        Self {
            counts,
            token: tensor(token),
            choice: tensor(choice),
            expert: tensor(expert),
        }
    }
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
        }
    }

    /// Runs each expert on the tokens routed to it and sums the weighted results per token.
    ///
    /// # Shapes
    /// - x: `[tokens, hidden_size]`
    /// - output: `[tokens, hidden_size]`
    pub fn forward(&self, x: Tensor<2>, routed: &RouterOutput) -> Tensor<2> {
        let groups = Groups::new(&routed.indices, self.down_proj_bias.dims()[0]);
        let bias = |bias: &Param<Tensor<2>>| bias.val().select(0, groups.expert.clone());

        // Before the tokens are repeated for their experts: the same result for less work.
        let tokens = quantized(&self.gate_up_proj_input_quantizer, x.clone());
        let rows = tokens.select(0, groups.token.clone());
        let inner = self.gate_up_proj.multiply(rows, &groups.counts);
        let active = self.swiglu(inner + bias(&self.gate_up_proj_bias));
        let active = quantized(&self.down_proj_input_quantizer, active);
        let outer = self.down_proj.multiply(active, &groups.counts);
        let outer = outer + bias(&self.down_proj_bias);

        let choices = groups.choice.dims()[0];
        let weight = routed
            .scores
            .clone()
            .reshape([choices])
            .select(0, groups.choice);
        let weighted = outer * weight.reshape([choices, 1]);
        x.zeros_like()
            .select_assign(0, groups.token, weighted, IndexingUpdateOp::Add)
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

    /// `gate * sigmoid(alpha * gate) * (up + 1)` with the gate clamped from above and the up
    /// projection from both sides; gate and up are interleaved.
    ///
    /// # Shapes
    /// - x: `[rows, 2 * intermediate_size]`
    /// - output: `[rows, intermediate_size]`
    fn swiglu(&self, x: Tensor<2>) -> Tensor<2> {
        let [rows, width] = x.dims();
        let pairs = x.reshape([rows, width / 2, 2]);
        let half = |part| pairs.clone().narrow(2, part, 1).reshape([rows, width / 2]);
        let gate = half(0).clamp_max(self.swiglu_limit);
        let up = half(1).clamp(-self.swiglu_limit, self.swiglu_limit);
        let gated = gate.clone() * sigmoid(gate * self.swiglu_alpha);
        gated * (up + 1.0)
    }
}

fn quantized(quantizer: &Option<ActivationQuantizer>, x: Tensor<2>) -> Tensor<2> {
    match quantizer {
        Some(quantizer) => quantizer.forward(x),
        None => x,
    }
}
