//! Weight for weight with another checkpoint.

use serde::Serialize;

use crate::checkpoint::{CheckpointReader, TensorSpec};
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
        self.different == 0
    }

    pub(super) fn new(against: &CheckpointReader) -> Self {
        Self {
            against: against.dir().display().to_string(),
            ..Self::default()
        }
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
