//! Operations Burn does not have, as backend extensions.

mod autodiff;
mod extension;
#[cfg(feature = "flex")]
mod flex;
mod packed;
mod sink_attention;

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use burn_fp4::Fp4Tensor;

pub use extension::GroupedBackend;
pub use sink_attention::{
    AttentionBackend, AttentionInputs, AttentionOptions, AttentionOutput, KeySegments, Visibility,
    sink_attention,
};

/// Multiplies consecutive groups of rows with one matrix each: rows `0..counts[0]` with
/// `weight[0]`, the next `counts[1]` rows with `weight[1]`, and so on. Empty groups cost nothing.
///
/// The gradient of the weight is written once as a whole, group by group; slicing the weight per
/// expert instead would build a zero-filled copy of all experts for every slice.
///
/// # Shapes
/// - rows: `[sum(counts), in]`
/// - weight: `[groups, in, out]`
/// - output: `[sum(counts), out]`
///
/// # Panics
/// If `counts` does not have one entry per group, or its sum is not the number of rows.
pub fn grouped_matmul(rows: Tensor<2>, weight: Tensor<3>, counts: &[usize]) -> Tensor<2> {
    let [groups, weight_in, _] = weight.dims();
    check(&rows, counts, [groups, weight_in]);
    let (rows, weight) = (rows.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(<Dispatch as GroupedBackend>::grouped_matmul(
        rows,
        weight,
        counts.to_vec(),
    ))
}

/// [`grouped_matmul`] with packed matrices, block axis last: each is decoded tile by tile, forward and
/// backward, and only if its group has rows. Products are accumulated in `f32`; the gradient goes to
/// the rows alone.
///
/// # Shapes
/// - rows: `[sum(counts), in]`
/// - weight: `[groups, out, in]`
/// - output: `[sum(counts), out]`, dtype of the rows
///
/// # Panics
/// If `counts` does not have one entry per group, or its sum is not the number of rows.
pub fn grouped_fp4_linear(rows: Tensor<2>, weight: &Fp4Tensor<3>, counts: &[usize]) -> Tensor<2> {
    let [groups, _, weight_in] = weight.shape();
    check(&rows, counts, [groups, weight_in]);
    Tensor::from_dispatch(<Dispatch as GroupedBackend>::grouped_fp4_linear(
        rows.into_dispatch(),
        weight.primitive(),
        counts.to_vec(),
        weight.scheme(),
    ))
}

fn check(rows: &Tensor<2>, counts: &[usize], [groups, weight_in]: [usize; 2]) {
    let [n_rows, d_in] = rows.dims();
    assert_eq!(counts.len(), groups, "one count per group");
    assert_eq!(
        counts.iter().sum::<usize>(),
        n_rows,
        "counts must cover every row"
    );
    assert_eq!(
        d_in, weight_in,
        "rows and weight must agree on the input axis"
    );
}
