//! The tensors that llama.cpp asks for.

use std::collections::{BTreeMap, BTreeSet};

use super::Said;
use crate::checkpoint::validate::engines::Verdict;
use crate::checkpoint::{GgufFile, GgufTensor, GgufValue};

/// Tensors of every layer. Biases of queries, keys and values may be absent, and would be left out.
const LAYER: [&str; 19] = [
    "attn_norm.weight",
    "post_attention_norm.weight",
    "attn_q.weight",
    "attn_q.bias",
    "attn_k.weight",
    "attn_k.bias",
    "attn_v.weight",
    "attn_v.bias",
    "attn_output.weight",
    "attn_output.bias",
    "attn_sinks.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_inp.bias",
    "ffn_gate_exps.weight",
    "ffn_gate_exps.bias",
    "ffn_up_exps.weight",
    "ffn_up_exps.bias",
    "ffn_down_exps.weight",
    "ffn_down_exps.bias",
];
/// More than any model has.
const MAX_LAYERS: u32 = 4096;
const ENDS: [&str; 3] = ["token_embd.weight", "output_norm.weight", "output.weight"];

pub(super) fn check(file: &GgufFile, said: &mut Said) {
    let layers = match file.keys.get("gpt-oss.block_count") {
        Some(GgufValue::U32(layers)) => *layers,
        _ => return,
    };
    let of_layer = |layer: u32| LAYER.map(|name| format!("blk.{layer}.{name}"));
    let layers = layers.min(MAX_LAYERS);
    let mut expected: Vec<String> = (0..layers).flat_map(of_layer).collect();
    expected.extend(ENDS.map(str::to_owned));
    let by_name: BTreeMap<&str, &GgufTensor> = file
        .tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor))
        .collect();
    for name in &expected {
        let found = by_name.get(name.as_str());
        // One tensor may hold queries, keys and values.
        let fused = name
            .replace("attn_q.", "attn_qkv.")
            .replace("attn_k.", "attn_qkv.");
        let fused = fused.replace("attn_v.", "attn_qkv.");
        if found.is_none() && by_name.contains_key(fused.as_str()) {
            continue;
        }
        let is_optional = ["attn_q.bias", "attn_k.bias", "attn_v.bias"]
            .iter()
            .any(|end| name.ends_with(end));
        match found {
            None if is_optional => {
                said.push((
                    Verdict::Differs,
                    format!("{name} is absent and is left out"),
                ));
            }
            None => said.push((Verdict::Refuses, format!("{name} is absent"))),
            Some(tensor) => {
                let wants_f32 = name.ends_with(".bias") || name.ends_with("attn_sinks.weight");
                if wants_f32 && tensor.ggml_type != 0 {
                    let reason = format!("{name} is not F32: it aborts when the graph is built");
                    said.push((Verdict::Refuses, reason));
                }
            }
        }
    }
    let expected: BTreeSet<&String> = expected.iter().collect();
    for tensor in &file.tensors {
        let is_optional = [".scale", ".input_scale", "attn_qkv.weight", "attn_qkv.bias"];
        let is_optional = is_optional.iter().any(|end| tensor.name.ends_with(end));
        if !is_optional && !expected.contains(&tensor.name) {
            said.push((
                Verdict::Refuses,
                format!(
                    "{} belongs to no gpt-oss: `wrong number of tensors`",
                    tensor.name
                ),
            ));
        }
        if tensor.ggml_type == 40 {
            said.push((
                Verdict::Differs,
                format!(
                    "{} is in NVFP4, whose `.scale` is ignored for this architecture",
                    tensor.name
                ),
            ));
        }
    }
}
