//! NaN and infinity.

/// What happens to NaN and infinity, which FP4 cannot represent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NonFinite {
    /// They are an error that names the first one: for export.
    #[default]
    Error,
    /// They become the largest number of their block, `6 * scale`, with their sign: for training, as
    /// in ModelOpt's kernels.
    ///
    /// Where scales are chosen, NaN is ignored and infinity counts as `f32::MAX`. A block of nothing
    /// but zeros and NaN has scale 1.
    Saturate,
}
