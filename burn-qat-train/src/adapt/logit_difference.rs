use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use burn_gpt_oss::GptOss;

use crate::error::QatError;

/// Positions whose logits are compared at a time: those of all positions may be larger than the model.
const POSITIONS: usize = 64;

/// How far the logits of two models are apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LogitDifference {
    /// The largest difference. Where rounding sends a token to another expert it may be as large as a logit.
    pub largest: f64,
    /// The mean of the differences of all logits.
    pub mean: f64,
    /// The largest magnitude of a logit.
    pub magnitude: f64,
}

impl LogitDifference {
    /// Compares the logits of two models for a sequence: a trained one with what was exported of it. Expert matrices
    /// have the same bits there; the sums of attention and its adapters are rounded to bfloat16.
    ///
    /// # Errors
    /// A device that fails.
    pub fn of(a: &GptOss, b: &GptOss, tokens: &[u32]) -> Result<Self, QatError> {
        let (a_hidden, b_hidden) = (hidden(a, tokens), hidden(b, tokens));
        let mut difference = Self::default();
        for start in (0..tokens.len()).step_by(POSITIONS) {
            let end = (start + POSITIONS).min(tokens.len());
            let chunk = |hidden: &Tensor<2>| hidden.clone().slice(start..end);
            let (a, b) = (a.logits(chunk(&a_hidden)), b.logits(chunk(&b_hidden)));
            difference.magnitude = difference.magnitude.max(read(a.clone().abs().max())?);
            let apart = (a - b).abs();
            difference.largest = difference.largest.max(read(apart.clone().max())?);
            let share = (end - start) as f64 / tokens.len() as f64;
            difference.mean += share * read(apart.mean())?;
        }
        Ok(difference)
    }
}

fn hidden(model: &GptOss, tokens: &[u32]) -> Tensor<2> {
    let device = model.devices().into_iter().next().unwrap_or_default();
    let ids: Vec<i32> = tokens.iter().map(|token| *token as i32).collect();
    let data = TensorData::new(ids, [1, tokens.len()]);
    let ids = Tensor::<2, Int>::from_data(data, &device);
    model.hidden_states(ids, None, |_| {}).squeeze_dim(0)
}

fn read(value: Tensor<1>) -> Result<f64, QatError> {
    let value = value.try_into_scalar::<f64>();
    value.map_err(|error| QatError::Training {
        stage: "comparing logits".into(),
        message: error.to_string(),
    })
}
