//! The operations of a training step on the device that `BURN_DEVICE` names, in the shapes of
//! gpt-oss-20b, beside a dense product of Burn.
//!
//! All are bound by arithmetic; the floor is two FLOPs per multiply-add. Experts: 8192 tokens with four
//! of 32 experts each, matrices `[2880, 5760]` and `[2880, 2880]`, forward pass and the gradients of both
//! operands, 1.09 and 0.54 TFLOP each. Attention: one sequence of 8192 tokens, 64 query heads on 8 key
//! heads of 64 channels; pairs of query and key that are visible count, two products forward, five
//! backward: 0.55 and 1.37 TFLOP without a window. The dense product beside them is `[8192, 8192]` squared.

use std::cell::LazyCell;

use burn::backend::Dispatch;
use burn::tensor::{FloatDType, Int, Tensor, TensorData};
use burn_fp4::backend::{ExpertBackend, ExpertRoutes, OperandPrimitive};
use burn_fp4::{ExpertRouting, expert_routing};
use burn_gpt_oss::backend::{AttentionBackend, AttentionInputs};
use burn_gpt_oss::ops::{AttentionOptions, KeySegments};

use crate::device::{Target, name};
use crate::device_table::{Table, Unit};

const FLOPS: Unit = Unit {
    floor: ("GFLOP", 1e9),
    rate: ("TFLOP/s", 1e12),
    reference: "dense product",
};
const TOP_K: usize = 4;

pub fn run(target: &Target) {
    let table = Table::new(target, FLOPS);
    for dtype in target.dtypes() {
        let bench = Bench {
            table: &table,
            target,
            dtype,
        };
        let width = if target.large { 2880 } else { 288 };
        bench.experts([width, 2 * width]);
        bench.experts([width, width]);
        bench.attention(None);
        bench.attention(Some(128));
    }
}

struct Bench<'a> {
    table: &'a Table<'a>,
    target: &'a Target,
    dtype: FloatDType,
}

impl Bench<'_> {
    fn row(&self, operation: &str, shape: &str, flops: f64, work: impl Fn() -> Tensor<2>) {
        let side = if self.target.large { 8192 } else { 512 };
        let square = LazyCell::new(|| self.target.random([side, side], self.dtype));
        let product = || square.clone().matmul(square.clone());
        let product = self.target.has_products().then_some(product);
        let dtype = name(self.dtype);
        let row = format!("{operation} | dense | {dtype} | {shape}");
        let reference = 2.0 * (side as f64).powi(3);
        self.table.row(&row, reference, product, flops, work);
    }

    fn experts(&self, [d_input, d_output]: [usize; 2]) {
        let n_experts = self.target.experts(4);
        let tokens = if self.target.large { 8192 } else { 64 };
        let random = |shape| self.target.random(shape, self.dtype);
        let x = LazyCell::new(|| random([tokens, d_input]));
        let grad = LazyCell::new(|| random([tokens * TOP_K, d_output]));
        let bias = LazyCell::new(|| random([n_experts, d_output]));
        let shape = [n_experts, d_input, d_output];
        let weight = LazyCell::new(|| self.target.random(shape, self.dtype));
        let routing = LazyCell::new(|| self.routing(tokens, n_experts));
        let dense = || OperandPrimitive::Dense(weight.clone().into_dispatch());
        let flops = (2 * tokens * TOP_K * d_input * d_output) as f64;
        let shape = format!("{tokens} tokens, {shape:?}");
        self.row("expert_linear", &shape, flops, || {
            let (x, bias) = (x.clone().into_dispatch(), bias.clone().into_dispatch());
            let out = Dispatch::expert_linear(x, dense(), bias, routes(&routing));
            Tensor::from_dispatch(out)
        });
        self.row("its input gradient", &shape, flops, || {
            let grad = grad.clone().into_dispatch();
            let out = Dispatch::expert_linear_backward(grad, dense(), routes(&routing));
            Tensor::from_dispatch(out)
        });
        self.row("its weight gradient", &shape, flops, || {
            let (x, grad) = (x.clone().into_dispatch(), grad.clone().into_dispatch());
            let out = Dispatch::expert_linear_weight_gradient(x, grad, routes(&routing));
            Tensor::<3>::from_dispatch(out).flatten(0, 1)
        });
    }

    /// Every token to four experts that a hash picks, so that they are about evenly used.
    fn routing(&self, tokens: usize, n_experts: usize) -> ExpertRouting {
        let choices = (0..tokens).flat_map(|token| {
            let first = token.wrapping_mul(2_654_435_761) >> 11;
            let stride = n_experts / TOP_K;
            (0..TOP_K).map(move |k| ((first + k * stride) % n_experts) as i32)
        });
        let data = TensorData::new(choices.collect(), [tokens, TOP_K]);
        let indices = Tensor::<2, Int>::from_data(data, &self.target.device);
        expert_routing(indices, n_experts)
    }

    fn attention(&self, window: Option<usize>) {
        let (len, heads, kv_heads, dim) = match self.target.large {
            true => (8192, 64, 8, 64),
            false => (256, 4, 2, 64),
        };
        let random = |heads| self.target.random([1, len, heads, dim], self.dtype);
        let sinks = LazyCell::new(|| self.target.random([heads], self.dtype));
        let tensors = [heads, kv_heads, kv_heads, heads].map(|n| LazyCell::new(move || random(n)));
        let [query, key, value, grad] = &tensors;
        let inputs = || AttentionInputs {
            query: (**query).clone().into_dispatch(),
            key: (**key).clone().into_dispatch(),
            value: (**value).clone().into_dispatch(),
            sinks: sinks.clone().into_dispatch(),
        };
        let options = AttentionOptions {
            scale: (dim as f32).powf(-0.5),
            window,
            first_query: 0,
        };
        let visible = window.unwrap_or(len).min(len);
        let pairs = visible * (visible + 1) / 2 + (len - visible) * visible;
        let product = (2 * pairs * dim * heads) as f64;
        let shape = match window {
            Some(window) => format!("{len} tokens, window {window}"),
            None => format!("{len} tokens, no window"),
        };
        let forward = || Dispatch::sink_attention(inputs(), KeySegments::One, options);
        let matrix = |tensor: Tensor<4>| tensor.reshape([len as i32, -1]);
        self.row("sink_attention", &shape, 2.0 * product, || {
            matrix(Tensor::from_dispatch(forward().output))
        });
        self.row("forward and backward", &shape, 7.0 * product, || {
            let grad = (**grad).clone().into_dispatch();
            let one = KeySegments::One;
            let out = Dispatch::sink_attention_backward(grad, inputs(), forward(), one, options);
            matrix(Tensor::from_dispatch(out.query))
        });
    }
}

fn routes(routing: &ExpertRouting) -> ExpertRoutes<Dispatch> {
    ExpertRoutes {
        order: routing.order().into_dispatch(),
        offsets: routing.offsets().into_dispatch(),
        top_k: routing.top_k(),
    }
}
