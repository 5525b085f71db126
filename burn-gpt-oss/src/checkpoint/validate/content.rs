//! What the weights are like: not finite, saturated, zero.

use rayon::prelude::*;
use serde::Serialize;

use super::{Finding, Severity};
use crate::checkpoint::form::Part;
use crate::checkpoint::{CheckpointForm, CheckpointReader, TensorSpec};
use crate::error::GptOssError;

/// What the expert matrices hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WeightContent {
    /// One line for each matrix.
    pub matrices: Vec<MatrixContent>,
}

/// An expert matrix of a layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MatrixContent {
    /// Its path in the model.
    pub path: String,
    /// Weights that are zero, of all.
    pub zeros: f64,
    /// Weights with the largest magnitude of the format, 6 times their scale; none where it is dense.
    pub at_limit: Option<f64>,
    /// Blocks whose scale is the largest one of the format: larger values would have been cut off.
    pub saturated_blocks: u64,
    /// Experts whose weights are all zero.
    pub zero_experts: Vec<usize>,
}

/// What one piece of codes holds.
#[derive(Clone, Copy, Default)]
struct Count {
    zeros: u64,
    at_limit: u64,
}

impl WeightContent {
    /// Weights of all matrices that have the largest magnitude of the format, on average.
    pub fn at_limit(&self) -> Option<f64> {
        let shares: Vec<f64> = self.matrices.iter().filter_map(|m| m.at_limit).collect();
        (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
    }

    /// Looks at a matrix; what is wrong with it becomes findings.
    pub(super) fn add(
        &mut self,
        reader: &CheckpointReader,
        spec: &TensorSpec,
        findings: &mut Vec<Finding>,
    ) -> Result<(), GptOssError> {
        let form = reader.form_of(spec);
        let content = match form.scheme() {
            Some(_) => packed(reader, spec, form, findings)?,
            None => dense(reader, spec)?,
        };
        for expert in &content.zero_experts {
            findings.push(Finding::new(
                Severity::Warning,
                &spec.name,
                format!("all weights of expert {expert} are zero: it was pruned, or its tensor was never written"),
            ));
        }
        if content.saturated_blocks > 0 {
            findings.push(Finding::new(
                Severity::Warning,
                &spec.name,
                format!(
                    "{} blocks have the largest scale of the format: larger values were cut off",
                    content.saturated_blocks
                ),
            ));
        }
        self.matrices.push(content);
        Ok(())
    }
}

fn packed(
    reader: &CheckpointReader,
    spec: &TensorSpec,
    form: CheckpointForm,
    findings: &mut Vec<Finding>,
) -> Result<MatrixContent, GptOssError> {
    let mut content = MatrixContent {
        path: spec.path.clone(),
        ..MatrixContent::default()
    };
    let (mut count, mut nan_scales, mut may_overflow) = (Count::default(), 0u64, false);
    for expert in 0..spec.shape[0] {
        let packed = reader.packed_of(spec, expert..expert + 1)?;
        let mut of_expert = count_codes(packed.codes());
        of_expert.zeros += zeros_by_scale(form, packed.codes(), packed.scales());
        may_overflow |= packed.scales().iter().any(|byte| form.may_overflow(*byte));
        if of_expert.zeros == packed.n_elements() as u64 {
            content.zero_experts.push(expert);
        }
        count.zeros += of_expert.zeros;
        count.at_limit += of_expert.at_limit;
        for byte in packed.scales() {
            nan_scales += u64::from(form.is_nan_scale(*byte));
            content.saturated_blocks += u64::from(form.is_largest_scale(*byte));
        }
    }
    let n = spec.len().max(1) as f64;
    content.zeros = count.zeros as f64 / n;
    content.at_limit = Some(count.at_limit as f64 / n);
    if nan_scales > 0 {
        findings.push(Finding::new(
            Severity::Error,
            reader.name_of(spec, Part::Scales)?,
            format!("{nan_scales} block scales mean NaN; the tensor is damaged, download or convert it again"),
        ));
    }
    // Codes times the largest scales are beyond float32, which decoding finds.
    if nan_scales == 0 && may_overflow {
        reader.values(spec)?;
    }
    reader.release_parameter(spec)?;
    Ok(content)
}

/// Weights of blocks whose scale is zero and whose codes are not.
fn zeros_by_scale(form: CheckpointForm, codes: &[u8], scales: &[u8]) -> u64 {
    if !scales.iter().any(|byte| form.is_zero_scale(*byte)) {
        return 0;
    }
    let block = codes.len() / scales.len().max(1);
    let blocks = codes.chunks(block.max(1)).zip(scales);
    let blocks = blocks.filter(|(_, byte)| form.is_zero_scale(**byte));
    let nonzero = blocks.map(|(codes, _)| 2 * codes.len() as u64 - count_codes(codes).zeros);
    nonzero.sum()
}

/// Nibbles with the magnitudes 0 and 6.
fn count_codes(codes: &[u8]) -> Count {
    let chunk = |codes: &[u8]| {
        let nibbles = |is: fn(u8) -> bool| {
            let count = |byte: &u8| u64::from(is(byte & 7)) + u64::from(is(byte >> 4 & 7));
            codes.iter().map(count).sum()
        };
        Count {
            zeros: nibbles(|code| code == 0),
            at_limit: nibbles(|code| code == 7),
        }
    };
    let counts = codes.par_chunks(1 << 16).map(chunk);
    counts.reduce(Count::default, |a, b| Count {
        zeros: a.zeros + b.zeros,
        at_limit: a.at_limit + b.at_limit,
    })
}

fn dense(reader: &CheckpointReader, spec: &TensorSpec) -> Result<MatrixContent, GptOssError> {
    let mut content = MatrixContent {
        path: spec.path.clone(),
        ..MatrixContent::default()
    };
    let width = reader.dtype_of(&spec.name)?.bitsize() / 8;
    // Of little-endian floats, a zero has no bit set but the sign.
    let is_zero = |element: &[u8]| {
        let (last, rest) = element.split_last().unwrap_or((&0, &[]));
        last & 0x7f == 0 && rest.iter().all(|byte| *byte == 0)
    };
    let mut zeros = 0;
    for expert in 0..spec.shape[0] {
        let bytes = reader.raw_of(&spec.name, expert..expert + 1)?;
        let elements = bytes.par_chunks(width.max(1));
        let of_expert = elements.filter(|element| is_zero(element)).count();
        if of_expert == spec.shape[1] * spec.shape[2] {
            content.zero_experts.push(expert);
        }
        zeros += of_expert;
    }
    content.zeros = zeros as f64 / spec.len().max(1) as f64;
    reader.release_parameter(spec)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_counted() {
        let count = count_codes(&[0x00, 0x8f, 0x70, 0x12]);
        assert_eq!((count.zeros, count.at_limit), (4, 2));
    }
}
