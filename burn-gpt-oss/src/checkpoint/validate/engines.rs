//! What five engines do with a checkpoint of gpt-oss: tables of what their sources say, and rules for the rest.
//!
//! | engine | version that was read |
//! |---|---|
//! | vLLM | 0.33.0 (`models/gpt_oss.py`, `default_loader.py`) |
//! | SGLang | 0.5.23 (`srt/models/gpt_oss.py`) |
//! | TensorRT-LLM | `modeling_gpt_oss.py` of two revisions, the later one of an unknown release |
//! | transformers | 5.24.0 (`modeling_gpt_oss.py`, `core_model_loading.py`, `quantizers/`) |
//! | llama.cpp | 0c1e5709 of 2026-10-01 (`conversion/gpt_oss.py`, `openai-moe.cpp`, `llama-model-loader.cpp`) |

mod config;
mod facts;
mod families;
mod files;
mod tensors;

use serde::Serialize;

pub(super) use facts::Facts;

/// An engine that serves models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Engine {
    /// vLLM.
    #[serde(rename = "vllm")]
    Vllm,
    /// SGLang.
    #[serde(rename = "sglang")]
    Sglang,
    /// NVIDIA's TensorRT-LLM.
    #[serde(rename = "tensorrt-llm")]
    TensorRtLlm,
    /// transformers, `GptOssForCausalLM.from_pretrained`.
    #[serde(rename = "transformers")]
    Transformers,
    /// llama.cpp: a directory by its converter, a GGUF file by its loader.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
}

/// What becomes of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is loaded as it is meant.
    Loads,
    /// Some revisions load it, others do not.
    Depends,
    /// It is loaded, and computes something else than the model.
    Differs,
    /// It is loaded without an error although weights are missing, and answers with noise.
    Noise,
    /// There is an error.
    Refuses,
}

/// What an engine does with a checkpoint, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EngineVerdict {
    /// The engine.
    pub engine: Engine,
    /// Its version whose sources were read.
    pub version: &'static str,
    /// The worst that happens.
    pub verdict: Verdict,
    /// Why, each on its own.
    pub reasons: Vec<String>,
}

impl Engine {
    /// All engines.
    pub const ALL: [Self; 5] = [
        Self::Vllm,
        Self::Sglang,
        Self::TensorRtLlm,
        Self::Transformers,
        Self::LlamaCpp,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::TensorRtLlm => "tensorrt-llm",
            Self::Transformers => "transformers",
            Self::LlamaCpp => "llama.cpp",
        }
    }

    /// The version whose sources the tables are from.
    pub const fn version(self) -> &'static str {
        match self {
            Self::Vllm => "0.33.0",
            Self::Sglang => "0.5.23",
            Self::TensorRtLlm => "of 2026, release unknown",
            Self::Transformers => "5.24.0",
            Self::LlamaCpp => "0c1e5709",
        }
    }
}

/// What a rule says of one engine.
struct Said(Engine, Verdict, String);

/// Rules collect what they have to say.
#[derive(Default)]
struct Rules(Vec<Said>);

impl Rules {
    fn say(&mut self, engine: Engine, verdict: Verdict, reason: impl Into<String>) {
        self.0.push(Said(engine, verdict, reason.into()));
    }

    fn say_all(&mut self, engines: &[Engine], verdict: Verdict, reason: &str) {
        for engine in engines {
            self.say(*engine, verdict, reason);
        }
    }
}

/// The verdicts on a directory.
pub(super) fn verdicts(facts: &Facts) -> Vec<EngineVerdict> {
    let mut rules = Rules::default();
    match facts.family {
        Some(family) => families::apply(family, &mut rules),
        None => rules.say_all(
            &Engine::ALL,
            Verdict::Refuses,
            "no tensors of gpt-oss were found",
        ),
    }
    files::apply(facts, &mut rules);
    tensors::apply(facts, &mut rules);
    config::apply(facts, &mut rules);
    Engine::ALL.map(|engine| conclude(engine, &rules)).into()
}

/// The verdict on a GGUF file, which one engine loads.
pub(super) fn verdict_on_gguf(reasons: Vec<(Verdict, String)>) -> EngineVerdict {
    let mut rules = Rules::default();
    for (verdict, reason) in reasons {
        rules.say(Engine::LlamaCpp, verdict, reason);
    }
    conclude(Engine::LlamaCpp, &rules)
}

fn conclude(engine: Engine, Rules(said): &Rules) -> EngineVerdict {
    let mut of_engine: Vec<&Said> = said.iter().filter(|said| said.0 == engine).collect();
    of_engine.sort_by_key(|said| std::cmp::Reverse(said.1));
    let reasons = of_engine.iter().filter(|said| !said.2.is_empty());
    EngineVerdict {
        engine,
        version: engine.version(),
        verdict: of_engine.first().map_or(Verdict::Loads, |said| said.1),
        reasons: reasons.map(|said| said.2.clone()).collect(),
    }
}
