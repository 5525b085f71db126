//! Experts one after the other, with any function in the places of the quantizers.

use burn::tensor::activation::sigmoid;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use burn_fp4::{PackedMatrix, ProductRows, fp4_expert_linear, packed_product};
use burn_gpt_oss::{ExpertWeight, Experts, GptOss, RouterOutput};

/// Which input: that of `gate_up_proj` or that of `down_proj`.
#[derive(Clone, Copy)]
pub enum Input {
    GateUp,
    Down,
}

pub struct ByHand<'a> {
    pub experts: &'a Experts,
    limit: f64,
    alpha: f64,
}

impl<'a> ByHand<'a> {
    pub fn new(model: &'a GptOss, layer: usize) -> Self {
        let config = model.config();
        Self {
            experts: &model.layers[layer].mlp.experts,
            limit: config.swiglu_limit,
            alpha: config.swiglu_alpha,
        }
    }

    /// `[tokens, hidden_size]` to the same; `quantize` sees the first input once for all experts.
    pub fn forward(
        &self,
        x: Tensor<2>,
        routed: &RouterOutput,
        mut quantize: impl FnMut(Input, Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let device = x.device();
        let [_, top_k] = routed.indices.dims();
        let chosen: Vec<i64> = routed.indices.to_data().iter::<i64>().collect();
        let scores = routed.scores.clone().flatten::<1>(0, 1);
        let mut output = x.zeros_like();
        let x = quantize(Input::GateUp, x);
        for expert in 0..self.experts.down_proj_bias.dims()[0] {
            let choices = (0..chosen.len()).filter(|i| chosen[*i] == expert as i64);
            let choices: Vec<i32> = choices.map(|i| i as i32).collect();
            let n_rows = choices.len();
            if n_rows == 0 {
                continue;
            }
            let index = |values: Vec<i32>| -> Tensor<1, Int> {
                Tensor::from_data(TensorData::new(values, [n_rows]), &device)
            };
            let tokens = index(choices.iter().map(|i| i / top_k as i32).collect());
            let bias = |bias: Tensor<2>| bias.narrow(0, expert, 1);

            let rows = x.clone().select(0, tokens.clone());
            let inner = multiply(&self.experts.gate_up_proj, rows, expert)
                + bias(self.experts.gate_up_proj_bias.val());
            let active = quantize(Input::Down, self.swiglu(inner));
            let outer = multiply(&self.experts.down_proj, active, expert)
                + bias(self.experts.down_proj_bias.val());
            let weight = scores.clone().select(0, index(choices));
            let weighted = outer * weight.reshape([n_rows, 1]);
            output = output.select_assign(0, tokens, weighted, IndexingUpdateOp::Add);
        }
        output
    }

    fn swiglu(&self, x: Tensor<2>) -> Tensor<2> {
        let [rows, width] = x.dims();
        let pairs = x.reshape([rows, width / 2, 2]);
        let half = |part| pairs.clone().narrow(2, part, 1).reshape([rows, width / 2]);
        let gate = half(0).clamp_max(self.limit);
        let up = half(1).clamp(-self.limit, self.limit);
        gate.clone() * sigmoid(gate * self.alpha) * (up + 1.0)
    }
}

fn multiply(weight: &ExpertWeight, rows: Tensor<2>, expert: usize) -> Tensor<2> {
    match weight {
        ExpertWeight::Dense(weight) => {
            let matrix = weight.val().narrow(0, expert, 1).squeeze_dim::<2>(0);
            rows.matmul(matrix)
        }
        // By the product that few rows take, because the next quantizer would make steps of last bits.
        ExpertWeight::Packed(weight, _) => {
            let packed = weight.to_packed().expect("readable");
            let (device, [n_rows, d_input]) = (rows.device(), rows.dims());
            let [_, d_output, _] = weight.shape();
            let [codes, scales] = [packed.codes(), packed.scales()].map(|bytes| {
                let n_bytes = bytes.len() / weight.shape()[0];
                &bytes[expert * n_bytes..][..n_bytes]
            });
            let global_scales = packed.global_scales();
            let last = global_scales.len().saturating_sub(1);
            let global_scale = global_scales.get(expert.min(last)).copied().unwrap_or(1.0);
            let shape = [d_output, d_input];
            let matrix = PackedMatrix::new(weight.scheme(), shape, codes, scales, global_scale);
            let experts = Tensor::full([n_rows], expert as i64, &device);
            let tracked = fp4_expert_linear(rows.clone(), experts, weight);
            let values = rows.try_into_vec_as::<f32>().expect("readable");
            let rows = ProductRows::new(&values, d_input);
            let mut out = vec![0.0; n_rows * d_output];
            packed_product(&rows, &matrix.expect("whole blocks"), 0..d_output, &mut out);
            let exact = Tensor::from_data(TensorData::new(out, [n_rows, d_output]), &device);
            // The values of one, the gradient of the other.
            tracked.clone() - tracked.detach() + exact
        }
    }
}
