//! Which files each engine reads.

use serde_json::Value;

use super::Engine::{LlamaCpp, Sglang, TensorRtLlm, Transformers, Vllm};
use super::Rules;
use super::Verdict::{Differs, Noise, Refuses};
use super::facts::Facts;

pub(super) fn apply(facts: &Facts, rules: &mut Rules) {
    if let Some(index) = &facts.index {
        indexed(facts, index, rules);
    } else if facts.single && !facts.others.is_empty() {
        rules.say_all(
            &[Vllm, Sglang, TensorRtLlm],
            Differs,
            &format!(
                "reads `{}` beside model.safetensors, too; the later name wins",
                facts.others[0]
            ),
        );
    } else if !facts.single && !facts.others.is_empty() {
        rules.say(
            Transformers,
            Refuses,
            "there is neither model.safetensors nor an index",
        );
        if !facts.others.iter().any(|name| name.starts_with("model")) {
            rules.say(
                LlamaCpp,
                Refuses,
                "the converter reads files whose names begin with `model`",
            );
        }
    }
    if !facts.blocks_come_first {
        rules.say(
            LlamaCpp,
            Noise,
            "a tensor `_scales` comes before its `_blocks`: the converter pairs scales with the codes it saw last",
        );
    }
}

fn indexed(facts: &Facts, index: &Value, rules: &mut Rules) {
    let map = index.get("weight_map").and_then(Value::as_object);
    let listed = |name: &str| map.is_some_and(|map| map.values().any(|file| file == name));
    if index.get("metadata").is_none() {
        rules.say(
            Transformers,
            Refuses,
            "KeyError `metadata`: the index has no such key",
        );
    }
    if facts.single && !listed("model.safetensors") {
        rules.say(
            Transformers,
            Differs,
            "loads model.safetensors, not the files of the index",
        );
        rules.say(
            TensorRtLlm,
            Differs,
            "reads model.safetensors and the files of the index together",
        );
    }
    if let Some(stale) = facts.others.iter().find(|name| !listed(name)) {
        rules.say(
            TensorRtLlm,
            Differs,
            format!("reads `{stale}`, too, which the index does not list"),
        );
    }
    let Some(map) = map else { return };
    let in_files = |name: &String| facts.tensors.contains_key(name);
    if let Some(name) = map.keys().find(|name| !in_files(name)) {
        let reason = format!("the index lists `{name}`, which the files do not have");
        rules.say(LlamaCpp, Refuses, reason);
    }
    if let Some(file) = map
        .values()
        .filter_map(Value::as_str)
        .find(|file| *file != "model.safetensors" && !facts.others.iter().any(|name| name == file))
    {
        let reason = format!("the index lists `{file}`, which is not there");
        rules.say_all(&[Vllm, Sglang, Transformers, LlamaCpp], Refuses, &reason);
    }
}
