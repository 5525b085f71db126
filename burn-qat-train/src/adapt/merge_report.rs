use std::fmt;

use burn::tensor::Tensor;
use burn_fp4::{Fp4Tensor, LowRankAdapter, PackedFp4, codes_changed, e4m3};
use burn_gpt_oss::{GptOss, GptOssError};

use crate::error::QatError;

/// Share of values below which a merge counts as one that changes almost nothing.
const ALMOST_NOTHING: f64 = 1e-4;

/// What merging adapters into packed expert matrices changes.
#[derive(Clone, Debug, PartialEq)]
pub struct MergeReport {
    /// One entry per matrix with an adapter on a packed base, in the order of the layers.
    pub matrices: Vec<MergedMatrix>,
}

/// The changes of one matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct MergedMatrix {
    /// Module path.
    pub path: String,
    /// Elements.
    pub elements: u64,
    /// Elements with another value than in the base.
    pub changed: u64,
    /// Blocks.
    pub blocks: u64,
    /// Blocks with another scale than in the base.
    pub scales: u64,
    /// Root mean square of the delta over half the smallest step of the grid, that of an element of a block with
    /// the mean scale: far below 1, rounding takes the delta away.
    pub delta_over_half_step: f64,
}

impl MergeReport {
    /// Merges one matrix after the other and compares it with its base.
    ///
    /// # Errors
    /// A device that fails.
    pub fn new(model: &GptOss) -> Result<Self, QatError> {
        let mut matrices = Vec::new();
        for (path, weight) in model.expert_weights() {
            let (Some(adapter), Some(base)) = (weight.adapter(), weight.packed()) else {
                continue;
            };
            if adapter.scheme() != Some(base.scheme()) {
                continue;
            }
            if let Some(merged) = weight.codes() {
                matrices.push(MergedMatrix::new(path, base, &merged, adapter)?);
            }
        }
        Ok(Self { matrices })
    }

    /// Share of the values that the merge changes.
    pub fn changed_fraction(&self) -> f64 {
        let sum = |of: fn(&MergedMatrix) -> u64| self.matrices.iter().map(of).sum::<u64>() as f64;
        sum(|matrix| matrix.changed) / sum(|matrix| matrix.elements).max(1.0)
    }

    /// Whether the merge changes almost nothing: the base lies on the grid, so a small delta is rounded away.
    pub fn changes_almost_nothing(&self) -> bool {
        !self.matrices.is_empty() && self.changed_fraction() < ALMOST_NOTHING
    }
}

impl MergedMatrix {
    fn new(
        path: String,
        base: &Fp4Tensor<3>,
        merged: &Fp4Tensor<3>,
        adapter: &LowRankAdapter<3>,
    ) -> Result<Self, QatError> {
        let host = |tensor: &Fp4Tensor<3>| {
            tensor.to_packed().map_err(|source| GptOssError::Fp4 {
                tensor: path.clone(),
                source: Box::new(source),
            })
        };
        let (base, merged) = (host(base)?, host(merged)?);
        let changes = codes_changed(&base, &merged).map_err(|source| GptOssError::Fp4 {
            tensor: path.clone(),
            source: Box::new(source),
        })?;
        let blocks = base.scales().len() as u64;
        // The smallest step of the grid is half of the scale.
        let half_step = mean_scale(&base) / 4.0;
        Ok(Self {
            elements: changes.n_elements,
            changed: changes.values,
            blocks,
            scales: changes.scales,
            delta_over_half_step: delta_rms(adapter)? / half_step,
            path,
        })
    }
}

/// The mean of the block scales, geometric in MXFP4, in NVFP4 with the first global scale.
fn mean_scale(packed: &PackedFp4) -> f64 {
    let n = packed.scales().len().max(1) as f64;
    match packed.global_scales() {
        [] => {
            let exponents = packed.scales().iter().map(|byte| f64::from(*byte) - 127.0);
            (exponents.sum::<f64>() / n).exp2()
        }
        [global_scale, ..] => {
            let scales = packed
                .scales()
                .iter()
                .map(|byte| f64::from(e4m3::decode(*byte)));
            scales.sum::<f64>() / n * f64::from(*global_scale)
        }
    }
}

/// Root mean square of the elements of the delta, from the Gram matrices of both factors: the sum of squares of
/// `a b` is the trace of `(a^T a) (b b^T)`.
fn delta_rms(adapter: &LowRankAdapter<3>) -> Result<f64, QatError> {
    let delta = adapter.delta();
    let [experts, d_input, d_output] = delta.shape();
    let left = delta.a.clone().swap_dims(1, 2).matmul(delta.a);
    let right = delta.b.clone().matmul(delta.b.swap_dims(1, 2));
    let squares: Tensor<1> = (left * right).sum();
    let squares = squares
        .try_into_vec_as::<f32>()
        .map_err(|error| QatError::Training {
            stage: "merge report".into(),
            message: error.to_string(),
        })?;
    let n = (experts * d_input * d_output) as f64;
    let squares = f64::from(squares.first().copied().unwrap_or_default());
    Ok(f64::from(delta.scaling) * (squares / n).sqrt())
}

impl fmt::Display for MergeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<36} {:>9} {:>9}  delta / half step",
            "matrix", "values", "scales"
        )?;
        for matrix in &self.matrices {
            let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
            writeln!(
                f,
                "{:<36} {:>8.4}% {:>8.4}%  {:.4}",
                matrix.path,
                percent(matrix.changed, matrix.elements),
                percent(matrix.scales, matrix.blocks),
                matrix.delta_over_half_step
            )?;
        }
        write!(
            f,
            "changed by the merge: {:.4} % of the values",
            100.0 * self.changed_fraction()
        )?;
        match self.changes_almost_nothing() {
            true => write!(
                f,
                "\nThe merge changes almost nothing. The base lies on the grid of its format, and the delta is \
                 small beside a step of it: train longer, with a higher learning rate, or with rounding from an \
                 earlier step."
            ),
            false => Ok(()),
        }
    }
}
