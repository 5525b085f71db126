//! Sizes, routings and values.

use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, FloatDType, TensorData};
use burn_flex::FlexTensor;
use burn_fp4::Fp4Scheme;
use burn_fp4::backend::Fp4Backend;

pub struct Case {
    pub name: &'static str,
    pub d_input: usize,
    pub d_output: usize,
    pub n_experts: usize,
    pub top_k: usize,
    /// The expert of every choice.
    pub chosen: Vec<i32>,
}

impl Case {
    pub fn n_tokens(&self) -> usize {
        self.chosen.len() / self.top_k
    }

    /// The choices sorted by expert.
    pub fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.chosen.len()).collect();
        order.sort_by_key(|&choice| self.chosen[choice]);
        order
    }
}

/// Two different experts of every token, of those in `used`.
fn pairs(tokens: usize, used: &[i32]) -> Vec<i32> {
    let n = used.len();
    let pair = |t: usize| [used[t * 5 % n], used[(t * 5 + 1 + t % (n - 1)) % n]];
    (0..tokens).flat_map(pair).collect()
}

fn case(
    name: &'static str,
    [d_input, d_output]: [usize; 2],
    n_experts: usize,
    top_k: usize,
    chosen: Vec<i32>,
) -> Case {
    Case {
        name,
        d_input,
        d_output,
        n_experts,
        top_k,
        chosen,
    }
}

/// Every edge.
pub fn small() -> Vec<Case> {
    vec![
        case("odd widths", [37, 45], 5, 2, pairs(23, &[0, 1, 2, 3, 4])),
        case("empty experts", [32, 12], 6, 2, pairs(9, &[1, 2, 4])),
        case("one token", [32, 8], 3, 2, vec![2, 0]),
        case("all on one expert", [64, 40], 4, 2, [2, 2].repeat(90)),
        case("one column", [1, 1], 2, 2, pairs(5, &[0, 1])),
        case("whole blocks", [64, 96], 4, 2, pairs(13, &[0, 3, 1])),
        case("a token of four", [96, 40], 6, 4, vec![5, 0, 3, 1]),
        case("few tokens", [64, 24], 5, 2, pairs(7, &[0, 2, 3, 4])),
        case("no tokens", [32, 16], 3, 2, vec![]),
    ]
}

/// What tensor cores multiply.
pub fn wide() -> Vec<Case> {
    let four = |t: usize| [7, 0, 3, 5].map(|e| ((e + t * (t + 1) / 2) % 8) as i32);
    let spread = (0..300).flat_map(four).collect();
    vec![
        case("tiles", [320, 576], 4, 2, pairs(700, &[0, 1, 3])),
        case("skewed", [288, 288], 3, 1, [vec![1; 517], vec![0]].concat()),
        case("top four", [96, 672], 8, 4, spread),
        case("few rows", [288, 576], 8, 2, pairs(5, &[0, 1, 2, 4, 6, 7])),
        case("vectors alone", [168, 136], 4, 2, pairs(333, &[0, 1, 2, 3])),
    ]
}

/// The form of the matrices.
#[derive(Clone, Copy, Debug)]
pub enum Matrices {
    Dense,
    Packed(Fp4Scheme),
}

/// All inputs in the dtype of the case; matrices `[experts, in, out]` or packed.
pub struct Inputs {
    pub dtype: DType,
    pub matrices: Matrices,
    /// `[tokens, in]`
    pub x: TensorData,
    /// `[rows, in]`
    pub rows: TensorData,
    pub weight: TensorData,
    /// Codes, scale bytes and global scales.
    pub packed: Option<[TensorData; 3]>,
    /// What the matrices stand for, `[experts, in, out]`.
    pub values: Vec<f64>,
    pub bias: TensorData,
    /// `[tokens, top_k]`
    pub scores: TensorData,
    /// Gradient by choice `[rows, out]`, and by token `[tokens, out]`.
    pub row_grad: TensorData,
    pub token_grad: TensorData,
}

impl Inputs {
    pub fn new(case: &Case, dtype: DType, matrices: Matrices) -> Self {
        let Case {
            d_input,
            d_output,
            n_experts,
            top_k,
            ..
        } = *case;
        let (n_tokens, n_rows) = (case.n_tokens(), case.chosen.len());
        let weight = sample([n_experts, d_input, d_output], 2, dtype);
        let (packed, values) = match matrices {
            Matrices::Dense => (None, floats(&weight)),
            Matrices::Packed(scheme) => {
                let (packed, values) = quantized(&weight, scheme);
                (Some(packed), values)
            }
        };
        Self {
            dtype,
            matrices,
            x: sample([n_tokens, d_input], 1, dtype),
            rows: sample([n_rows, d_input], 6, dtype),
            weight,
            packed,
            values,
            bias: sample([n_experts, d_output], 3, dtype),
            scores: sample([n_tokens, top_k], 4, dtype),
            row_grad: sample([n_rows, d_output], 5, dtype),
            token_grad: sample([n_tokens, d_output], 7, dtype),
        }
    }
}

/// Experts of different magnitude, so that global scales per expert differ.
fn quantized(weight: &TensorData, scheme: Fp4Scheme) -> ([TensorData; 3], Vec<f64>) {
    let [n_experts, d_input, d_output] = weight.shape().dims();
    let plain: Vec<f32> = weight.iter::<f32>().collect();
    let mut turned = vec![0.0; plain.len()];
    for (i, value) in plain.iter().enumerate() {
        let (expert, input, output) =
            (i / d_output / d_input, i / d_output % d_input, i % d_output);
        let scale = [0.3, 2.0, 0.01, 1.0][expert % 4];
        turned[(expert * d_output + output) * d_input + input] = value * scale;
    }
    let dense = FlexTensor::from_data(TensorData::new(turned, [n_experts, d_output, d_input]));
    let amax = Flex::fp4_amax(dense.clone(), scheme);
    let packed = Flex::fp4_quantize(dense, amax, 2, scheme);
    let decoded = Flex::fp4_dequantize(packed.clone(), 2, FloatDType::F32, scheme);
    assert_eq!(decoded.shape().dims(), [n_experts, d_output, d_input]);
    let decoded = floats(&decoded.into_data());
    let mut values = vec![0.0; decoded.len()];
    for (i, value) in decoded.iter().enumerate() {
        let (expert, output, input) = (i / d_input / d_output, i / d_input % d_output, i % d_input);
        values[(expert * d_input + input) * d_output + output] = *value;
    }
    let parts = [
        packed.codes.into_data(),
        packed.scales.into_data(),
        packed.global_scales.into_data(),
    ];
    (parts, values)
}

/// Values of either sign that any dtype holds, another sequence for each `seed`.
pub fn sample<const D: usize>(shape: [usize; D], seed: usize, dtype: DType) -> TensorData {
    let n: usize = shape.iter().product();
    // Sums of sums must not be infinite in `f16`.
    let scale = if dtype == DType::F16 { 0.25 } else { 1.0 };
    let value = |i: usize| (((i * 7919 + seed * 104_729) % 251) as f32 / 97.0 - 1.3) * scale;
    let values: Vec<f32> = (0..n).map(value).collect();
    TensorData::new(values, shape).convert_dtype(dtype)
}

pub fn floats(data: &TensorData) -> Vec<f64> {
    data.iter::<f64>().collect()
}
