//! Tensors that are missing, surplus, or of another type.

use safetensors::Dtype;

use super::Engine::{LlamaCpp, Sglang, TensorRtLlm, Transformers, Vllm};
use super::Rules;
use super::Verdict::{Differs, Loads, Noise, Refuses};
use super::facts::{Facts, Family};

pub(super) fn apply(facts: &Facts, rules: &mut Rules) {
    if matches!(
        facts.family,
        Some(Family::Mxfp4 | Family::Bf16 | Family::ModelOpt)
    ) {
        facts
            .missing()
            .iter()
            .for_each(|name| missing(name, facts, rules));
        facts.unknown().iter().for_each(|name| unknown(name, rules));
        misshapen(facts, rules);
    }
    for (name, (dtype, _)) in &facts.tensors {
        if name.ends_with("_scales") && *dtype != Dtype::U8 {
            let reason = format!("`{name}` is {dtype:?}; it is converted by value to U8");
            rules.say_all(&[Vllm, Sglang], Noise, &reason);
            rules.say(
                LlamaCpp,
                Refuses,
                format!("`{name}` is {dtype:?}, the converter asks for U8"),
            );
        }
    }
}

/// What engines make of tensors of other sizes: packed experts are copied as far as they go.
fn misshapen(facts: &Facts, rules: &mut Rules) {
    for (name, expected, found) in facts.misshapen() {
        let reason = format!("`{name}` has shape {found:?}, expected {expected:?}");
        let packed = name.ends_with("_blocks") || name.ends_with("_scales");
        let verdict = if packed { Differs } else { Refuses };
        rules.say_all(&[Vllm, Sglang], verdict, &reason);
        rules.say_all(&[TensorRtLlm, Transformers, LlamaCpp], Refuses, &reason);
    }
}

/// What engines make of a parameter that no tensor holds.
fn missing(name: &str, facts: &Facts, rules: &mut Rules) {
    let mxfp4 = facts.family == Some(Family::Mxfp4);
    rules.say(
        TensorRtLlm,
        Refuses,
        format!("KeyError: `{name}` is missing"),
    );
    let is_optional = ["q_proj.bias", "k_proj.bias", "v_proj.bias"];
    match is_optional.iter().any(|end| name.ends_with(end)) {
        true => rules.say(
            LlamaCpp,
            Differs,
            format!("`{name}` is missing and is left out, without a word"),
        ),
        false => rules.say(
            LlamaCpp,
            Refuses,
            format!("`{name}` is missing; its loader asks for it"),
        ),
    }
    let tied = facts
        .key(&["tie_word_embeddings"])
        .and_then(serde_json::Value::as_bool);
    match name == "lm_head.weight" && tied == Some(true) {
        true => rules.say(
            Transformers,
            Loads,
            "`lm_head.weight` is tied to the embedding",
        ),
        false => {
            let reason =
                format!("`{name}` is missing and is initialized at random, with a warning");
            rules.say(Transformers, Noise, reason);
        }
    }
    let is_norm = name.ends_with("norm.weight");
    let is_sinks = name.ends_with(".sinks");
    let is_expert_bias = name.ends_with("_proj_bias");
    let (verdict, what) = match () {
        _ if is_expert_bias => (Differs, "is taken as zero, without a word"),
        _ if (is_norm || is_sinks) && !mxfp4 => (Refuses, "is an error"),
        _ if is_norm => (Differs, "is taken as ones, without a word"),
        _ if is_sinks => (Differs, "is taken as no sink at all, without a word"),
        _ => (Noise, "keeps what memory held, without a word"),
    };
    rules.say(Vllm, verdict, format!("`{name}` is missing, which {what}"));
    let (verdict, what) = match is_expert_bias && mxfp4 {
        true => (Differs, "is taken as zero"),
        false => (Noise, "keeps what memory held"),
    };
    rules.say(
        Sglang,
        verdict,
        format!("`{name}` is missing, which {what}, without a word"),
    );
}

/// What engines make of a tensor that they do not know.
fn unknown(name: &str, rules: &mut Rules) {
    rules.say(
        LlamaCpp,
        Refuses,
        format!("the converter does not know `{name}`"),
    );
    let is_attention = ["q_proj", "k_proj", "v_proj"]
        .iter()
        .any(|part| name.contains(part));
    match (name.starts_with("model."), is_attention) {
        (false, _) if name != "lm_head.bias" => {
            let module = name.split('.').next().unwrap_or(name);
            rules.say(
                Vllm,
                Refuses,
                format!("ValueError: there is no module named `{module}` (`{name}`)"),
            );
        }
        (_, true) => rules.say(Vllm, Refuses, format!("KeyError at `{name}`")),
        _ => rules.say(Vllm, Loads, format!("`{name}` is skipped")),
    }
    rules.say_all(
        &[Sglang, TensorRtLlm],
        Loads,
        &format!("`{name}` is skipped"),
    );
    rules.say(
        Transformers,
        Loads,
        format!("`{name}` is skipped, with a warning"),
    );
}
