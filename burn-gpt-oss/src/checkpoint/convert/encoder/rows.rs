//! Parts of matrices: some experts, every second row.

use std::borrow::Cow;
use std::ops::Range;

use burn_fp4::PackedFp4;

use crate::checkpoint::TensorSpec;
use crate::checkpoint::dialect::projection::Rows;
use crate::error::GptOssError;

/// Elements that are converted at once, at least one expert.
const ELEMENTS: usize = 24 << 20;

/// Ranges of experts that are converted together.
pub(super) fn chunks(spec: &TensorSpec) -> impl Iterator<Item = Range<usize>> {
    let (experts, of_one) = (spec.shape[0], spec.shape[1] * spec.shape[2]);
    let step = (ELEMENTS / of_one.max(1)).max(1);
    let starts = (0..experts).step_by(step);
    starts.map(move |start| start..(start + step).min(experts))
}

/// Every second row of a matrix, or all.
pub(super) fn rows_of(bytes: &[u8], row_bytes: usize, rows: Rows) -> Cow<'_, [u8]> {
    let skip = match rows {
        Rows::All => return Cow::Borrowed(bytes),
        Rows::Gate => 0,
        Rows::Up => 1,
    };
    let rows = bytes.chunks_exact(row_bytes.max(1)).skip(skip).step_by(2);
    let mut half = Vec::with_capacity(bytes.len() / 2);
    rows.for_each(|row| half.extend_from_slice(row));
    Cow::Owned(half)
}

/// Every second row of the matrices of some experts.
pub(super) fn rows_of_packed<'p, S: AsRef<[u8]>>(
    packed: &'p PackedFp4<S>,
    rows: Rows,
    spec: &TensorSpec,
) -> Result<PackedFp4<Cow<'p, [u8]>>, GptOssError> {
    let (scheme, mut shape) = (packed.scheme(), packed.shape().to_vec());
    let n_rows = shape[0] * shape[1];
    let part = |bytes: &'p [u8]| rows_of(bytes, bytes.len() / n_rows.max(1), rows);
    if rows != Rows::All {
        shape[1] /= 2;
    }
    let (codes, scales) = (part(packed.codes()), part(packed.scales()));
    let global = packed.global_scales().to_vec();
    PackedFp4::from_parts_with_global(scheme, shape, codes, scales, global)
        .map_err(GptOssError::fp4(&spec.name))
}
