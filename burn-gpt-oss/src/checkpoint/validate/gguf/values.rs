//! Values of a GGUF file in the layout of a model.

use burn_fp4::layout::{StoredTensor, ggml};
use safetensors::Dtype;

use super::Comparison;
use crate::checkpoint::elements::{decode, transpose};
use crate::checkpoint::{CheckpointReader, GgufFile, TensorLayout, TensorSpec};
use crate::error::GptOssError;

/// Compares all weights of a directory with those of the file.
pub(super) fn compare(
    file: &GgufFile,
    against: &CheckpointReader,
) -> Result<Comparison, GptOssError> {
    let mut comparison = Comparison::new(against);
    for spec in against.specs() {
        let values = match spec.path.contains("gate_up_proj") {
            true => interleaved(file, spec)?,
            false => values(file, &name(spec))?,
        };
        let values = match spec.layout {
            TensorLayout::Same => values,
            TensorLayout::Transposed => turned(&values, &spec.shape),
            TensorLayout::Experts => {
                let matrix = spec.shape[1] * spec.shape[2];
                let matrices = values.chunks(matrix.max(1));
                matrices
                    .flat_map(|values| turned(values, &spec.shape[1..]))
                    .collect()
            }
        };
        comparison.add(&values, against, &spec.path)?;
    }
    Ok(comparison)
}

/// `[out, in]` as `[in, out]`, whose shape is given.
fn turned(values: &[f32], shape: &[usize]) -> Vec<f32> {
    match values.len() == shape[0] * shape[1] {
        true => transpose(values, shape[1], shape[0]),
        // The comparison finds that there are too many or too few.
        false => values.to_vec(),
    }
}

/// llama.cpp's name of a parameter.
fn name(spec: &TensorSpec) -> String {
    let ends = [
        ("embed_tokens.weight", "token_embd.weight"),
        ("norm.weight", "output_norm.weight"),
        ("lm_head.weight", "output.weight"),
    ];
    if let Some((_, name)) = ends.iter().find(|(path, _)| *path == spec.path) {
        return (*name).to_owned();
    }
    let (layer, rest) = layer_of(&spec.path);
    let rest = rest
        .replace("input_layernorm", "attn_norm")
        .replace("post_attention_layernorm", "post_attention_norm")
        .replace("self_attn.sinks", "attn_sinks.weight")
        .replace("self_attn.o_proj", "attn_output")
        .replace("self_attn.q_proj", "attn_q")
        .replace("self_attn.k_proj", "attn_k")
        .replace("self_attn.v_proj", "attn_v")
        .replace("mlp.router", "ffn_gate_inp")
        .replace("mlp.experts.down_proj_bias", "ffn_down_exps.bias");
    let rest = match rest.as_str() {
        "mlp.experts.down_proj" => "ffn_down_exps.weight".to_owned(),
        _ => rest,
    };
    format!("blk.{layer}.{rest}")
}

fn layer_of(path: &str) -> (&str, &str) {
    let inside = path.strip_prefix("layers.").unwrap_or(path);
    inside.split_once('.').unwrap_or(("", inside))
}

/// Gate and up, row by row in turn, `[experts, out, in]` or `[experts, out]`.
fn interleaved(file: &GgufFile, spec: &TensorSpec) -> Result<Vec<f32>, GptOssError> {
    let (layer, _) = layer_of(&spec.path);
    let (kind, row) = match spec.layout {
        TensorLayout::Experts => ("weight", spec.shape[1]),
        _ => ("bias", 1),
    };
    let half = |name: &str| values(file, &format!("blk.{layer}.{name}.{kind}"));
    let (gate, up) = (half("ffn_gate_exps")?, half("ffn_up_exps")?);
    let rows = gate.chunks(row.max(1)).zip(up.chunks(row.max(1)));
    Ok(rows
        .flat_map(|(gate, up)| gate.iter().chain(up))
        .copied()
        .collect())
}

fn values(file: &GgufFile, name: &str) -> Result<Vec<f32>, GptOssError> {
    let bytes = file.bytes(name)?;
    let tensor = file.tensors.iter().find(|tensor| tensor.name == name);
    let (kind, mut shape) = tensor.map_or((0, Vec::new()), |t| (t.ggml_type, t.shape.clone()));
    let float = match kind {
        0 => Some(Dtype::F32),
        1 => Some(Dtype::F16),
        30 => Some(Dtype::BF16),
        _ => None,
    };
    if let Some(values) = float.and_then(|dtype| decode(dtype, &bytes)) {
        return Ok(values);
    }
    if let (39, Some(last)) = (kind, shape.last_mut()) {
        *last = *last / ggml::MXFP4_ELEMENTS * ggml::MXFP4_BYTES;
        let blocks = ggml::from_mxfp4(&StoredTensor::new(shape, bytes));
        return Ok(blocks.map_err(GptOssError::fp4(name))?.dequantize());
    }
    Err(GptOssError::Unsupported {
        what: format!("comparing `{name}`, which is in type {kind} of GGML,"),
        hint: "F32, F16, BF16 and MXFP4 are compared".into(),
    })
}
