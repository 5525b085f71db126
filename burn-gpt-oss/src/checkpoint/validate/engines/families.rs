//! What each engine does with each way of storing experts.

use super::Engine::{LlamaCpp, Sglang, TensorRtLlm, Transformers, Vllm};
use super::Verdict::{Depends, Loads, Noise, Refuses};
use super::facts::Family;
use super::{Engine, Rules, Verdict};

type Line = (Engine, Verdict, &'static str);

const MODEL_OPT: [Line; 5] = [
    (
        Vllm,
        Refuses,
        "KeyError `layers.N.mlp.experts.w2_bias`: NVFP4 experts have no biases there",
    ),
    (
        Sglang,
        Noise,
        "scales and biases of experts are skipped without an error",
    ),
    (
        TensorRtLlm,
        Depends,
        "revisions with `load_nvfp4_weights` read exactly these names; older ones do not",
    ),
    (
        Transformers,
        Refuses,
        "`quant_method: modelopt` is ignored with a warning, then shapes do not fit",
    ),
    (LlamaCpp, Refuses, "the converter says `Can not map tensor`"),
];

const COMPRESSED: [Line; 5] = [
    (
        Vllm,
        Refuses,
        "KeyError `layers.N.mlp.experts.E.w2_bias`; the codes themselves would be skipped",
    ),
    (
        Sglang,
        Noise,
        "tensors of single experts are skipped without an error",
    ),
    (TensorRtLlm, Refuses, "KeyError `gate_up_proj_blocks`"),
    (
        Transformers,
        Noise,
        "experts are initialized at random, with a warning",
    ),
    (
        LlamaCpp,
        Refuses,
        "the converter says `Can not map tensor`, or that the format is not supported",
    ),
];

const PER_EXPERT: [Line; 5] = [
    (
        Vllm,
        Noise,
        "gate and up are skipped, down is loaded transposed, without an error",
    ),
    (
        Sglang,
        Noise,
        "tensors of single experts are skipped without an error",
    ),
    (TensorRtLlm, Refuses, "KeyError `gate_up_proj_blocks`"),
    (
        Transformers,
        Noise,
        "experts are initialized at random, with a warning",
    ),
    (LlamaCpp, Refuses, "the converter says `Can not map tensor`"),
];

const ORIGINAL: [Line; 5] = [
    (
        Vllm,
        Refuses,
        "ValueError: there is no module named `block`",
    ),
    (
        Sglang,
        Noise,
        "attention is loaded, experts (`mlp1_weight`, `mlp2_weight`) are dropped without an error",
    ),
    (
        TensorRtLlm,
        Depends,
        "older revisions only; later ones read the names of transformers",
    ),
    (
        Transformers,
        Noise,
        "everything is initialized at random, with a warning",
    ),
    (LlamaCpp, Refuses, "the converter says `Can not map tensor`"),
];

const ADAPTER: [Line; 5] = [
    (
        Vllm,
        Refuses,
        "an adapter is no model: start the base with `--enable-lora --lora-modules NAME=DIR`",
    ),
    (
        Sglang,
        Refuses,
        "an adapter is no model, and experts of PEFT's layout are not applied",
    ),
    (TensorRtLlm, Refuses, "an adapter is no model"),
    (
        Transformers,
        Refuses,
        "an adapter is no model: load it with PEFT on its base",
    ),
    (LlamaCpp, Refuses, "an adapter is no model: merge it first"),
];

pub(super) fn apply(family: Family, rules: &mut Rules) {
    let lines: &[Line] = match family {
        Family::Mxfp4 => &[(
            Engine::Transformers,
            Loads,
            "without its kernels it decodes to BF16: four times the memory",
        )],
        Family::Bf16 => &[(
            Engine::LlamaCpp,
            Loads,
            "the converter keeps experts in BF16, and warns that they are slow",
        )],
        Family::ModelOpt => &MODEL_OPT,
        Family::Compressed => &COMPRESSED,
        Family::PerExpert => &PER_EXPERT,
        Family::Original => &ORIGINAL,
        Family::Adapter => &ADAPTER,
    };
    for (engine, verdict, reason) in lines {
        rules.say(*engine, *verdict, *reason);
    }
}
