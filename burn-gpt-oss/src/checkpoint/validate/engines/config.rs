//! Keys of `config.json` that engines read otherwise, or not at all.

use serde_json::Value;

use super::Engine::{LlamaCpp, Sglang, TensorRtLlm, Transformers, Vllm};
use super::Verdict::{Differs, Loads, Noise, Refuses};
use super::facts::{Facts, Family};
use super::{Engine, Rules};
use crate::config::alternating_layers;

pub(super) fn apply(facts: &Facts, rules: &mut Rules) {
    if facts.config.is_null() {
        rules.say_all(&Engine::ALL, Refuses, "config.json cannot be read");
        return;
    }
    if facts.family == Some(Family::Original) {
        return;
    }
    absent(facts, rules);
    quantization(facts, rules);
    fixed(facts, rules);
}

/// Defaults are not the same everywhere.
fn absent(facts: &Facts, rules: &mut Rules) {
    let has = |path: &[&str]| facts.key(path).is_some();
    for key in ["num_hidden_layers", "num_local_experts"] {
        let alias = key == "num_local_experts" && has(&["num_experts"]);
        if !has(&[key]) && !alias {
            rules.say(
                Transformers,
                Differs,
                format!("`{key}` is absent: the one of the 120b is taken"),
            );
        }
    }
    let top_k = facts.key(&["experts_per_token"]).and_then(Value::as_u64);
    if !has(&["num_experts_per_tok"]) && top_k.is_some_and(|k| k != 4) {
        let reason =
            "`num_experts_per_tok` is absent: 4 is taken, whatever `experts_per_token` says";
        rules.say(Transformers, Differs, reason);
    }
    if facts
        .key(&["model_type"])
        .is_none_or(|kind| kind != "gpt_oss")
    {
        rules.say(
            Vllm,
            Refuses,
            "`model_type` is not \"gpt_oss\": MXFP4 of gpt-oss is not recognized",
        );
    }
    let rope = [["rope_scaling"], ["rope_parameters"]];
    let nobody = |name: &str| !rope.iter().any(|key| has(&[key[0], name]));
    for name in [
        "beta_fast",
        "beta_slow",
        "factor",
        "original_max_position_embeddings",
    ] {
        if rope.iter().any(|key| has(key)) && nobody(name) {
            let reason = format!("KeyError `{name}`: the rotation does not say it");
            rules.say_all(&[Vllm, TensorRtLlm], Refuses, &reason);
        }
    }
    let truncate = rope.iter().any(|key| has(&[key[0], "truncate"]));
    if rope.iter().any(|key| has(key)) && !truncate {
        let reason = "`truncate` of the rotation is absent: it is taken as true, the published models have false";
        rules.say(Vllm, Differs, reason);
    }
    if !has(&["rope_scaling"]) {
        rules.say(
            TensorRtLlm,
            Loads,
            "`rope_scaling` is absent: revisions that were read may not know `rope_parameters`",
        );
    }
}

/// The method that the configuration names, beside what the tensors are.
fn quantization(facts: &Facts, rules: &mut Rules) {
    let method = facts.key(&["quantization_config", "quant_method"]);
    let method = method.and_then(Value::as_str);
    match (facts.family, method) {
        (Some(Family::Mxfp4), Some("mxfp4")) => {}
        (Some(Family::Mxfp4), _) => {
            let reason = "codes are in MXFP4, `quantization_config.quant_method` does not say so";
            rules.say(Vllm, Refuses, reason);
            rules.say_all(&[Sglang, Transformers], Noise, reason);
            rules.say(LlamaCpp, Refuses, reason);
        }
        (Some(Family::Bf16), Some(method)) => {
            let reason =
                format!("experts are dense, `quantization_config.quant_method` says `{method}`");
            rules.say_all(&[Vllm, Transformers], Refuses, &reason);
            rules.say(Sglang, Noise, reason);
        }
        _ => {}
    }
}

/// What an engine has as a constant.
fn fixed(facts: &Facts, rules: &mut Rules) {
    let Some(config) = &facts.architecture else {
        return;
    };
    if config.rms_norm_eps != 1e-5 {
        let reason = format!("`rms_norm_eps` is {}, 1e-5 is taken", config.rms_norm_eps);
        rules.say(Vllm, Differs, reason);
    }
    if config.swiglu_limit != 7.0 {
        let reason = format!("`swiglu_limit` is {}, 7 is taken", config.swiglu_limit);
        rules.say_all(&[Vllm, TensorRtLlm, LlamaCpp], Differs, &reason);
    }
    if config.swiglu_alpha != 1.702 {
        let reason = format!("`swiglu_alpha` is {}, 1.702 is taken", config.swiglu_alpha);
        rules.say_all(&[Vllm, Sglang, TensorRtLlm, LlamaCpp], Differs, &reason);
    }
    if config.layer_types != alternating_layers(config.num_hidden_layers) {
        let reason = "`layer_types` is no alternation: even layers slide all the same";
        rules.say_all(&[Vllm, TensorRtLlm, LlamaCpp], Differs, reason);
    }
    if !config.rope.truncate {
        rules.say(
            LlamaCpp,
            Loads,
            "it rounds the bounds of YaRN (`truncate: true`): logits differ slightly",
        );
    }
}
