//! The file for llama.cpp, read back.

use std::path::{Path, PathBuf};

use burn_fp4::layout::{StoredTensor, ggml};
use burn_gpt_oss::{CheckpointReader, ConvertTarget, GgufFile, GgufTensor, GgufValue};
use half::bf16;

use crate::{converted, golden};

fn embedded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny-gpt-oss")
}

/// The values of a tensor, row after row.
fn values(file: &GgufFile, name: &str) -> Vec<f32> {
    let bytes = file.bytes(name).unwrap();
    let tensor: &GgufTensor = file
        .tensors
        .iter()
        .find(|tensor| tensor.name == name)
        .unwrap();
    match tensor.ggml_type {
        0 => bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|x| f32::from_le_bytes(*x))
            .collect(),
        30 => {
            let halves = bytes.as_chunks::<2>().0.iter();
            halves.map(|x| bf16::from_le_bytes(*x).to_f32()).collect()
        }
        39 => {
            let mut shape = tensor.shape.clone();
            *shape.last_mut().unwrap() = shape.last().unwrap() / 32 * 17;
            let blocks = StoredTensor::new(shape, bytes);
            ggml::from_mxfp4(&blocks).unwrap().dequantize()
        }
        other => panic!("type {other}"),
    }
}

/// `[in, out]` as `[out, in]`.
fn turned(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let element = |i: usize| values[i % rows * columns + i / rows];
    (0..values.len()).map(element).collect()
}

#[test]
fn every_weight_is_where_llama_cpp_looks_for_it() {
    let dir = golden::directory().join("tiny-gpt-oss");
    let (_temp, out) = converted(&dir, ConvertTarget::Gguf);
    let file = GgufFile::open(out.join("model.gguf")).unwrap();
    let source = CheckpointReader::open(&dir).unwrap();
    let ours = |path: &str| {
        let spec = source
            .specs()
            .iter()
            .find(|spec| spec.path == path)
            .unwrap();
        (source.values(spec).unwrap(), spec.shape.clone())
    };
    let mut seen = 0;
    let mut same = |name: String, expected: Vec<f32>| {
        assert_eq!(values(&file, &name), expected, "{name}");
        seen += 1;
    };
    same("token_embd.weight".into(), ours("embed_tokens.weight").0);
    same("output_norm.weight".into(), ours("norm.weight").0);
    let (head, shape) = ours("lm_head.weight");
    same("output.weight".into(), turned(&head, shape[0], shape[1]));
    for layer in 0..source.config().num_hidden_layers {
        for (name, path) in [
            ("attn_norm.weight", "input_layernorm.weight"),
            (
                "post_attention_norm.weight",
                "post_attention_layernorm.weight",
            ),
            ("attn_q.bias", "self_attn.q_proj.bias"),
            ("attn_k.bias", "self_attn.k_proj.bias"),
            ("attn_v.bias", "self_attn.v_proj.bias"),
            ("attn_output.bias", "self_attn.o_proj.bias"),
            ("attn_sinks.weight", "self_attn.sinks"),
            ("ffn_gate_inp.bias", "mlp.router.bias"),
            ("ffn_down_exps.bias", "mlp.experts.down_proj_bias"),
        ] {
            same(
                format!("blk.{layer}.{name}"),
                ours(&format!("layers.{layer}.{path}")).0,
            );
        }
        for (name, path) in [
            ("attn_q", "self_attn.q_proj"),
            ("attn_k", "self_attn.k_proj"),
            ("attn_v", "self_attn.v_proj"),
            ("attn_output", "self_attn.o_proj"),
            ("ffn_gate_inp", "mlp.router"),
        ] {
            let (values, shape) = ours(&format!("layers.{layer}.{path}.weight"));
            same(
                format!("blk.{layer}.{name}.weight"),
                turned(&values, shape[0], shape[1]),
            );
        }
        let experts = |path: &str| {
            let (values, shape) = ours(&format!("layers.{layer}.mlp.experts.{path}"));
            let matrices = values.chunks(shape[1] * shape[2]);
            let turned: Vec<_> = matrices.map(|m| turned(m, shape[1], shape[2])).collect();
            (turned, shape)
        };
        same(
            format!("blk.{layer}.ffn_down_exps.weight"),
            experts("down_proj").0.concat(),
        );
        let (gate_up, shape) = experts("gate_up_proj");
        let bias = ours(&format!("layers.{layer}.mlp.experts.gate_up_proj_bias")).0;
        for (name, odd) in [("ffn_gate_exps", 0), ("ffn_up_exps", 1)] {
            let half = |matrix: &Vec<f32>| {
                let rows = matrix.chunks(shape[1]).skip(odd).step_by(2);
                rows.flatten().copied().collect::<Vec<_>>()
            };
            let weight: Vec<_> = gate_up.iter().map(half).collect();
            same(format!("blk.{layer}.{name}.weight"), weight.concat());
            let bias = bias.iter().skip(odd).step_by(2).copied().collect();
            same(format!("blk.{layer}.{name}.bias"), bias);
        }
    }
    assert_eq!(file.tensors.len(), seen);
    let types = |kind| {
        file.tensors
            .iter()
            .filter(|tensor| tensor.ggml_type == kind)
            .count()
    };
    assert_eq!(types(39), 3 * source.config().num_hidden_layers);
}

#[test]
fn keys_have_the_types_that_llama_cpp_asks_for() {
    let (_temp, out) = converted(&embedded(), ConvertTarget::Gguf);
    let file = GgufFile::open(out.join("model.gguf")).unwrap();
    let config = CheckpointReader::open(embedded()).unwrap().config().clone();
    let key = |name: &str| {
        file.keys
            .get(name)
            .unwrap_or_else(|| panic!("no {name}"))
            .clone()
    };
    let u32 = |n: usize| GgufValue::U32(n as u32);
    for (name, expected) in [
        ("block_count", u32(config.num_hidden_layers)),
        ("embedding_length", u32(config.hidden_size)),
        ("expert_feed_forward_length", u32(config.intermediate_size)),
        ("expert_count", u32(config.num_local_experts)),
        ("attention.key_length", u32(config.head_dim)),
        ("attention.sliding_window", u32(config.sliding_window)),
        (
            "attention.layer_norm_rms_epsilon",
            GgufValue::F32(config.rms_norm_eps as f32),
        ),
        ("rope.freq_base", GgufValue::F32(config.rope.theta as f32)),
        ("rope.scaling.type", GgufValue::Text("yarn".into())),
    ] {
        assert_eq!(key(&format!("gpt-oss.{name}")), expected, "{name}");
    }
    let GgufValue::Array(tokens) = key("tokenizer.ggml.tokens") else {
        panic!("tokens");
    };
    let GgufValue::Array(kinds) = key("tokenizer.ggml.token_type") else {
        panic!("kinds");
    };
    assert_eq!(
        (tokens.len(), kinds.len()),
        (config.vocab_size, config.vocab_size)
    );
    let id = |text: &str| {
        tokens
            .iter()
            .position(|token| *token == GgufValue::Text(text.into()))
    };
    let end = id("<|return|>").unwrap();
    assert_eq!(kinds[end], GgufValue::I32(3));
    assert_eq!(kinds[id("!").unwrap()], GgufValue::I32(1));
    assert_eq!(key("tokenizer.ggml.eos_token_id"), u32(end));
    assert_eq!(
        key("general.architecture"),
        GgufValue::Text("gpt-oss".into())
    );
    assert_eq!(key("tokenizer.ggml.pre"), GgufValue::Text("gpt-4o".into()));
}
