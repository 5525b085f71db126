//! OpenAI's names. One table serves reading and writing: a tensor there is one here, or several in a row.

use std::collections::BTreeMap;
use std::path::Path;

use super::Located;
use super::per_expert::twice;
use crate::checkpoint::located::{Extent, Gathered, Place};
use crate::config::GptOssConfig;
use crate::error::GptOssError;

/// A tensor of the `original/` folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) struct Original {
    /// Its name there.
    pub name: String,
    /// The tensors here whose rows it holds, one after the other, and how many rows each has.
    pub parts: Vec<(String, usize)>,
}

/// What of a layer stands by itself in both.
const LAYER: [(&str, &str); 13] = [
    ("attn.norm.scale", "input_layernorm.weight"),
    ("attn.out.weight", "self_attn.o_proj.weight"),
    ("attn.out.bias", "self_attn.o_proj.bias"),
    ("attn.sinks", "self_attn.sinks"),
    ("mlp.norm.scale", "post_attention_layernorm.weight"),
    ("mlp.gate.weight", "mlp.router.weight"),
    ("mlp.gate.bias", "mlp.router.bias"),
    ("mlp.mlp1_weight.blocks", "mlp.experts.gate_up_proj_blocks"),
    ("mlp.mlp1_weight.scales", "mlp.experts.gate_up_proj_scales"),
    ("mlp.mlp1_bias", "mlp.experts.gate_up_proj_bias"),
    ("mlp.mlp2_weight.blocks", "mlp.experts.down_proj_blocks"),
    ("mlp.mlp2_weight.scales", "mlp.experts.down_proj_scales"),
    ("mlp.mlp2_bias", "mlp.experts.down_proj_bias"),
];

/// Dense experts, `[experts, out, in]` there.
const DENSE: [(&str, &str); 2] = [
    ("mlp.mlp1_weight", "mlp.experts.gate_up_proj"),
    ("mlp.mlp2_weight", "mlp.experts.down_proj"),
];

/// Whether a tensor has a name of that folder.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with("block.") || matches!(name, "embedding.weight" | "unembedding.weight")
}

/// All tensors of a model with experts in MXFP4.
pub(in crate::checkpoint) fn tensors(config: &GptOssConfig) -> Vec<Original> {
    let one = |name: String, ours: String| Original {
        name,
        parts: vec![(ours, 0)],
    };
    let mut tensors: Vec<Original> = [
        ("embedding.weight", "model.embed_tokens.weight"),
        ("norm.scale", "model.norm.weight"),
        ("unembedding.weight", "lm_head.weight"),
    ]
    .map(|(name, ours)| one(name.into(), ours.into()))
    .into();
    let query = config.num_attention_heads * config.head_dim;
    let key = config.num_key_value_heads * config.head_dim;
    for layer in 0..config.num_hidden_layers {
        for (name, ours) in LAYER {
            let ours = format!("model.layers.{layer}.{ours}");
            tensors.push(one(format!("block.{layer}.{name}"), ours));
        }
        for kind in ["weight", "bias"] {
            let part = |projection: &str, rows| {
                let name = format!("model.layers.{layer}.self_attn.{projection}.{kind}");
                (name, rows)
            };
            tensors.push(Original {
                name: format!("block.{layer}.attn.qkv.{kind}"),
                parts: vec![
                    part("q_proj", query),
                    part("k_proj", key),
                    part("v_proj", key),
                ],
            });
        }
    }
    tensors
}

/// The tensors of such a folder under our names.
pub(super) fn locate(
    config: &GptOssConfig,
    mut found: BTreeMap<String, Located>,
    dir: &Path,
) -> Result<BTreeMap<String, Located>, GptOssError> {
    let mut located = BTreeMap::new();
    for Original { name, parts } in tensors(config) {
        let total: usize = parts.iter().map(|(_, rows)| rows).sum();
        match found.get(&name).map(|tensor| tensor.shape.first().copied()) {
            None => continue,
            // Its own name in the error tells more than that of a third of it.
            Some(rows) if total > 0 && rows != Some(total) => continue,
            Some(_) => {}
        }
        let Some(tensor) = found.remove(&name) else {
            continue;
        };
        if let [(ours, _)] = parts.as_slice() {
            located.insert(ours.clone(), tensor);
            continue;
        }
        let mut start = 0;
        for (ours, rows) in parts {
            located.insert(ours, rows_of(&tensor, start, rows));
            start += rows;
        }
    }
    for layer in 0..config.num_hidden_layers {
        for (name, ours) in DENSE {
            if let Some(tensor) = found.remove(&format!("block.{layer}.{name}")) {
                located.insert(format!("model.layers.{layer}.{ours}"), turned(tensor));
            }
        }
    }
    for (name, tensor) in found {
        if located.insert(name.clone(), tensor).is_some() {
            return Err(twice(dir, [name.clone(), name]));
        }
    }
    Ok(located)
}

/// Some rows of a tensor in a file.
fn rows_of(tensor: &Located, start: usize, rows: usize) -> Located {
    let mut part = tensor.clone();
    let stride = tensor.n_bytes() / tensor.shape[0].max(1);
    part.shape[0] = rows;
    if let Place::File(extent) = &mut part.place {
        let first = extent.range.start + start * stride;
        extent.range = first..first + rows * stride;
    }
    part
}

/// `[experts, out, in]` as `[experts, in, out]`.
fn turned(tensor: Located) -> Located {
    let (Place::File(extent), &[experts, rows, columns]) = (&tensor.place, &tensor.shape[..])
    else {
        return tensor;
    };
    let element = tensor.dtype.bitsize() / 8;
    let stride = rows * columns * element;
    let part = |expert: usize| {
        let start = extent.range.start + expert * stride;
        vec![Extent {
            file: extent.file,
            range: start..start + stride,
        }]
    };
    Located {
        dtype: tensor.dtype,
        shape: vec![experts, columns, rows],
        place: Place::Gathered(Gathered {
            parts: (0..experts).map(part).collect(),
            row_bytes: columns * element,
            turned: Some(element),
        }),
    }
}
