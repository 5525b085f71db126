//! GPTQ: rounding without training that knows what the weights are multiplied with.

mod inverse_factor;
mod round;

use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, s};
use burn_fp4::ExpertRouting;
use burn_fp4::{Fp4Error, Fp4Scheme, Fp4Tensor, PackedFp4, SliceQuantizer};
use burn_gpt_oss::{Block, BlockOutput, ExpertWeight, GptOss, GptOssError};
use rayon::prelude::*;

use super::QuantPolicy;
use super::policy::ParameterPaths;
use crate::data::TokenizedExample;
use crate::error::QatError;
use inverse_factor::inverse_factor;
use round::round_matrix;

/// Rounds the expert matrices that a policy chooses by GPTQ (Frantar et al., 2023, arXiv:2210.17323), one layer after
/// the other: the rows of a layer are what the rounded layers before it give for the calibration data. Of an expert
/// that no token chose the weights are rounded to the nearest code. The matrices of the result are packed; adapters on
/// them are merged.
///
/// Of one layer the inputs of all calibration tokens are held, and for each expert the sum of products of its inputs,
/// `4 * experts * hidden_size^2` bytes: 1.1 GB in gpt-oss-20b.
///
/// `observe` is called after every layer with the number of layers that are done; [`ControlFlow::Break`] ends without
/// a result.
///
/// # Errors
/// A policy that matches no expert matrix, matrices whose inputs are no whole blocks, weights that are not finite, no
/// calibration data, and a device that cannot be read.
pub fn gptq(
    model: GptOss,
    policy: &QuantPolicy,
    calibration: &[TokenizedExample],
    mut observe: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<GptOss>, QatError> {
    let mut model = model.valid();
    policy.check_rules(&ParameterPaths::of(&model))?;
    let compiled = policy.compile()?;
    let refuse = |message: String| QatError::Policy {
        policy: policy.name.clone(),
        message,
    };
    let schemes = model
        .expert_weights()
        .map(|(path, _)| compiled.scheme(&path));
    let schemes: Vec<Option<Fp4Scheme>> = schemes.collect();
    if schemes.iter().all(Option::is_none) {
        return Err(refuse("matches no expert matrix of this model".into()));
    }
    if calibration.is_empty() {
        return Err(refuse("GPTQ needs calibration data, and has none".into()));
    }
    let device = model.embed_tokens.weight.device();
    let mut hidden: Vec<_> = calibration
        .iter()
        .map(|example| model.embedded(ids(example, &device)))
        .collect();
    for layer in 0..model.layers.len() {
        let [gate_up, down] = [schemes[2 * layer], schemes[2 * layer + 1]];
        let inputs = inputs_of_experts(&model, layer, &hidden);
        let block = &mut model.layers[layer];
        if let Some(scheme) = gate_up {
            let sums = sums_of_products(block, &inputs, |_, inputs| repeated(inputs))?;
            let path = format!("layers.{layer}.mlp.experts.gate_up_proj");
            round_experts(
                &mut block.mlp.experts.gate_up_proj,
                &path,
                scheme,
                &sums,
                &device,
            )?;
        }
        if let Some(scheme) = down {
            let sums = sums_of_products(block, &inputs, |block, inputs| {
                let experts = &block.mlp.experts;
                experts.intermediate(inputs.rows.clone(), &inputs.routing)
            })?;
            let path = format!("layers.{layer}.mlp.experts.down_proj");
            round_experts(
                &mut block.mlp.experts.down_proj,
                &path,
                scheme,
                &sums,
                &device,
            )?;
        }
        hidden = forward(&model, layer, &hidden);
        if observe(layer + 1).is_break() {
            return Ok(None);
        }
    }
    Ok(Some(model))
}

pub(super) fn ids(example: &TokenizedExample, device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i32> = example.tokens.iter().map(|id| *id as i32).collect();
    let shape = [1, ids.len()];
    Tensor::from_data(TensorData::new(ids, shape), device)
}

/// What the experts of a layer have to compute for one conversation.
struct Inputs {
    /// `[tokens, hidden_size]`
    rows: Tensor<2>,
    routing: ExpertRouting,
}

fn inputs_of_experts(model: &GptOss, layer: usize, hidden: &[Tensor<3>]) -> Vec<Inputs> {
    let block = &model.layers[layer];
    let inputs = hidden.iter().map(|hidden| {
        let [_, tokens, width] = hidden.dims();
        let output = run(model, layer, hidden);
        let behind_attention = hidden.clone() + output.attention;
        let rows = block.post_attention_layernorm.forward(behind_attention);
        Inputs {
            rows: rows.reshape([tokens, width]),
            routing: block.mlp.experts.routing(&output.router),
        }
    });
    inputs.collect()
}

fn run(model: &GptOss, layer: usize, hidden: &Tensor<3>) -> BlockOutput {
    let [_, len, _] = hidden.dims();
    let context = model.context(len, None, hidden);
    model.layers[layer].forward(hidden.clone(), &context)
}

fn forward(model: &GptOss, layer: usize, hidden: &[Tensor<3>]) -> Vec<Tensor<3>> {
    let outputs = hidden.iter().map(|hidden| run(model, layer, hidden).hidden);
    outputs.collect()
}

/// `X^T X` of the rows `X [rows, in]` of every expert, `[in, in]`; none of an expert without rows. `rows_of` gives a row
/// for every token and each of its experts, in the order of the routing.
fn sums_of_products(
    block: &Block,
    inputs: &[Inputs],
    rows_of: impl Fn(&Block, &Inputs) -> Tensor<2>,
) -> Result<Vec<Option<Vec<f32>>>, QatError> {
    let mut sums: Vec<Option<Tensor<2>>> = Vec::new();
    for inputs in inputs {
        let rows = rows_of(block, inputs);
        let offsets = read(inputs.routing.offsets().try_into_vec_as::<i32>())?;
        sums.resize_with(offsets.len() - 1, || None);
        for (sum, range) in sums.iter_mut().zip(offsets.windows(2)) {
            let (start, end) = (range[0] as usize, range[1] as usize);
            if start == end {
                continue;
            }
            let rows = rows.clone().slice(s![start..end, ..]);
            let product = rows.clone().transpose().matmul(rows);
            *sum = Some(match sum.take() {
                Some(sum) => sum + product,
                None => product,
            });
        }
    }
    let sums = sums.into_iter();
    sums.map(|sum| {
        sum.map(|sum| read(sum.try_into_vec_as::<f32>()))
            .transpose()
    })
    .collect()
}

/// What `gate_up_proj` is multiplied with, a row for every token and each of its experts.
fn repeated(inputs: &Inputs) -> Tensor<2> {
    let top_k = inputs.routing.top_k() as i32;
    inputs
        .rows
        .clone()
        .select(0, inputs.routing.order() / top_k)
}

/// Puts the rounded matrices of all experts in the place of a weight.
fn round_experts(
    weight: &mut ExpertWeight,
    path: &str,
    scheme: Fp4Scheme,
    sums: &[Option<Vec<f32>>],
    device: &Device,
) -> Result<(), QatError> {
    let shape @ [_, n_inputs, n_outputs] = weight.shape();
    let fp4 = |source: Fp4Error| {
        QatError::from(GptOssError::Fp4 {
            tensor: path.into(),
            source: Box::new(source),
        })
    };
    let mut values = read(weight.val().try_into_vec_as::<f32>())?;
    let quantizer = SliceQuantizer::new(scheme);
    // Refuses what is not finite, and inputs that are no whole blocks.
    let nearest = quantizer.quantize(&values, &shape, 1).map_err(fp4)?;
    let amax = quantizer.amax(&values, &shape).map_err(fp4)?;
    let (global, logical) = (nearest.global_scales().to_vec(), nearest.shape().to_vec());
    let (mut codes, mut scales) = nearest.into_parts();
    let n_weights = n_inputs * n_outputs;
    let experts = values
        .par_chunks_exact_mut(n_weights)
        .zip(codes.par_chunks_exact_mut(n_weights / 2))
        .zip(scales.par_chunks_exact_mut(n_weights / scheme.block_size()))
        .zip(sums)
        .enumerate();
    experts
        .try_for_each(|(expert, (((values, codes), scales), sums))| {
            let factor = sums
                .as_ref()
                .and_then(|sums| inverse_factor(sums, n_inputs));
            let Some(factor) = factor else { return Ok(()) };
            // One for all experts, or for each its own.
            let amax = amax.get(expert).or(amax.first()).copied();
            let rounded = round_matrix(values, (n_inputs, n_outputs), &factor, (scheme, amax))?;
            codes.copy_from_slice(&rounded.codes);
            scales.copy_from_slice(&rounded.scales);
            Ok(())
        })
        .map_err(fp4)?;
    let packed = PackedFp4::from_parts_with_global(scheme, logical, codes, scales, global);
    *weight = Fp4Tensor::from_packed(packed.map_err(fp4)?, device)
        .map_err(fp4)?
        .into();
    Ok(())
}

fn read<T>(values: Result<Vec<T>, impl std::fmt::Display>) -> Result<Vec<T>, QatError> {
    values.map_err(|error| QatError::Training {
        stage: "GPTQ".into(),
        message: format!("a tensor cannot be read from its device: {error}"),
    })
}
