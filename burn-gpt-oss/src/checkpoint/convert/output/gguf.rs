//! The tensors of a GGUF file of the architecture `gpt-oss`: names of llama.cpp, experts in GGML's blocks.
//!
//! Shapes are in the order of this crate; the file lists them in reverse (`gguf.md` of ggml, `openai-moe.cpp` of
//! llama.cpp).

use safetensors::Dtype;

use super::{Content, Element, OutputTensor};
use crate::checkpoint::dialect::projection::Rows;
use crate::checkpoint::form::Part;
use crate::checkpoint::{CheckpointForm, CheckpointReader, TensorLayout, TensorSpec};
use crate::error::GptOssError;

const F32: Element = Element::Safetensors(Dtype::F32);
const BF16: Element = Element::Safetensors(Dtype::BF16);

/// What of a layer stands by itself, its name there, and whether it is in float32.
const LAYER: [(&str, &str, Element); 15] = [
    ("input_layernorm.weight", "attn_norm.weight", F32),
    ("self_attn.q_proj.weight", "attn_q.weight", BF16),
    ("self_attn.q_proj.bias", "attn_q.bias", F32),
    ("self_attn.k_proj.weight", "attn_k.weight", BF16),
    ("self_attn.k_proj.bias", "attn_k.bias", F32),
    ("self_attn.v_proj.weight", "attn_v.weight", BF16),
    ("self_attn.v_proj.bias", "attn_v.bias", F32),
    ("self_attn.o_proj.weight", "attn_output.weight", BF16),
    ("self_attn.o_proj.bias", "attn_output.bias", F32),
    ("self_attn.sinks", "attn_sinks.weight", F32),
    (
        "post_attention_layernorm.weight",
        "post_attention_norm.weight",
        F32,
    ),
    ("mlp.router.weight", "ffn_gate_inp.weight", F32),
    ("mlp.router.bias", "ffn_gate_inp.bias", F32),
    ("mlp.experts.down_proj_bias", "ffn_down_exps.bias", F32),
    (
        "mlp.experts.down_proj",
        "ffn_down_exps.weight",
        Element::Mxfp4Blocks,
    ),
];

/// The halves of `gate_up_proj`.
const GATE_UP: [(&str, Rows); 2] = [("ffn_gate_exps", Rows::Gate), ("ffn_up_exps", Rows::Up)];

/// All tensors, layer after layer.
pub(super) fn plan(source: &CheckpointReader) -> Result<Vec<OutputTensor>, GptOssError> {
    let specs = source.specs();
    let find = |name: &str| specs.iter().position(|spec| spec.name == name);
    let mut tensors = Vec::new();
    let mut add = |index: Option<usize>, name: String, element| {
        let Some(index) = index else { return };
        let spec = &specs[index];
        tensors.push(OutputTensor {
            name,
            element,
            shape: shape(spec),
            content: content(spec, index),
        });
    };
    add(
        find("model.embed_tokens.weight"),
        "token_embd.weight".into(),
        BF16,
    );
    for layer in 0..source.config().num_hidden_layers {
        for (ours, name, element) in LAYER {
            let ours = format!("model.layers.{layer}.{ours}");
            add(find(&ours), format!("blk.{layer}.{name}"), element);
        }
    }
    add(find("model.norm.weight"), "output_norm.weight".into(), F32);
    add(find("lm_head.weight"), "output.weight".into(), BF16);
    for layer in 0..source.config().num_hidden_layers {
        let matrix = format!("model.layers.{layer}.mlp.experts.gate_up_proj");
        if let Some(index) = find(&matrix) {
            tensors.extend(halves(&specs[index], index, layer));
        }
    }
    for spec in specs {
        // The inputs of its matrices must be whole blocks.
        CheckpointForm::Mxfp4.stored(spec)?;
    }
    Ok(tensors)
}

fn halves(spec: &TensorSpec, index: usize, layer: usize) -> Vec<OutputTensor> {
    let [experts, d_input, d_output] = [spec.shape[0], spec.shape[1], spec.shape[2] / 2];
    let of = |(name, rows): (&str, Rows)| {
        let weight = OutputTensor {
            name: format!("blk.{layer}.{name}.weight"),
            element: Element::Mxfp4Blocks,
            shape: vec![experts, d_output, d_input],
            content: Content::Experts {
                spec: index,
                part: Part::Codes,
                rows,
                expert: None,
            },
        };
        let bias = OutputTensor {
            name: format!("blk.{layer}.{name}.bias"),
            element: F32,
            shape: vec![experts, d_output],
            content: Content::Biases {
                tensor: format!("{}_bias", spec.name),
                rows,
                expert: None,
            },
        };
        [weight, bias]
    };
    GATE_UP.into_iter().flat_map(of).collect()
}

fn shape(spec: &TensorSpec) -> Vec<usize> {
    match spec.layout {
        TensorLayout::Experts => spec.packed_shape(),
        TensorLayout::Same | TensorLayout::Transposed => spec.file_shape(),
    }
}

fn content(spec: &TensorSpec, index: usize) -> Content {
    match spec.layout {
        TensorLayout::Experts => Content::Experts {
            spec: index,
            part: Part::Codes,
            rows: Rows::All,
            expert: None,
        },
        TensorLayout::Same | TensorLayout::Transposed => Content::Dense(vec![spec.name.clone()]),
    }
}
