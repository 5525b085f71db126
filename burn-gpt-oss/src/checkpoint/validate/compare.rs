//! Weight for weight with another checkpoint.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::checkpoint::{CheckpointReader, TensorSpec};
use crate::config::GptOssConfig;
use crate::error::GptOssError;

/// How a checkpoint compares with another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The directory it was compared with.
    pub against: String,
    /// Parameters that were compared.
    pub parameters: usize,
    /// Weights that were compared.
    pub weights: u64,
    /// Weights that differ; a zero and a negative zero are equal.
    pub different: u64,
    /// Parameters with such weights.
    pub differing: Vec<Difference>,
    /// Parameters that only one of the two has.
    pub missing: Vec<String>,
    /// Keys of the configuration that differ and change what is computed.
    pub keys: Vec<String>,
}

/// A parameter that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its path in the model.
    pub parameter: String,
    /// How many of its weights differ.
    pub weights: u64,
    /// The flat index of the first one.
    pub first: usize,
}

impl Comparison {
    /// Whether all weights are the same.
    pub fn is_equal(&self) -> bool {
        self.different == 0 && self.missing.is_empty() && self.keys.is_empty()
    }

    pub(super) fn new(against: &CheckpointReader) -> Self {
        Self {
            against: against.dir().display().to_string(),
            ..Self::default()
        }
    }

    /// Notes parameters of the other checkpoint that are not among these.
    pub(super) fn note_missing(&mut self, specs: &[TensorSpec], against: &CheckpointReader) {
        let known: BTreeSet<&str> = specs.iter().map(|spec| spec.path.as_str()).collect();
        let others = against.specs().iter().map(|spec| &spec.path);
        let missing = others.filter(|path| !known.contains(path.as_str()));
        self.missing.extend(missing.cloned());
    }

    /// Notes what two architectures compute otherwise.
    pub(super) fn note_keys(&mut self, a: &GptOssConfig, b: &GptOssConfig) {
        let keys = |config: &GptOssConfig| {
            [
                (
                    "num_experts_per_tok",
                    config.num_experts_per_tok.to_string(),
                ),
                (
                    "num_attention_heads",
                    config.num_attention_heads.to_string(),
                ),
                (
                    "num_key_value_heads",
                    config.num_key_value_heads.to_string(),
                ),
                ("head_dim", config.head_dim.to_string()),
                ("sliding_window", config.sliding_window.to_string()),
                ("layer_types", format!("{:?}", config.layer_types)),
                ("rope", format!("{:?}", config.rope)),
                ("rms_norm_eps", config.rms_norm_eps.to_string()),
                ("swiglu_limit", config.swiglu_limit.to_string()),
                ("swiglu_alpha", config.swiglu_alpha.to_string()),
            ]
        };
        let pairs = keys(a).into_iter().zip(keys(b));
        let differing = pairs.filter(|(a, b)| a != b);
        self.keys
            .extend(differing.map(|((key, _), _)| key.to_owned()));
    }

    /// Compares one parameter.
    pub(super) fn add(
        &mut self,
        found: &[f32],
        against: &CheckpointReader,
        path: &str,
    ) -> Result<(), GptOssError> {
        let spec = |spec: &&TensorSpec| spec.path == path;
        let Some(spec) = against.specs().iter().find(spec) else {
            self.missing.push(path.to_owned());
            return Ok(());
        };
        let expected = against.values(spec)?;
        let differs = |(a, b): &(&f32, &f32)| a.to_bits() != b.to_bits() && **a != **b;
        let pairs = || found.iter().zip(&expected);
        let mut different = pairs().filter(differs).count() as u64;
        different += found.len().abs_diff(expected.len()) as u64;
        self.parameters += 1;
        self.weights += found.len() as u64;
        self.different += different;
        if different > 0 {
            self.differing.push(Difference {
                parameter: path.to_owned(),
                weights: different,
                first: pairs().position(|pair| differs(&pair)).unwrap_or(0),
            });
        }
        Ok(())
    }
}
