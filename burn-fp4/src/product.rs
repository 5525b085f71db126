//! Rows times a weight, for all rows or for the rows of each expert: forward, and both gradients.
//!
//! The weight is an [`Operand`](operand::Operand), floats or packed codes.

#[cfg(feature = "flex")]
mod bf16_product;
#[cfg(feature = "_cube")]
pub(crate) mod cube;
pub(crate) mod experts;
#[cfg(feature = "flex")]
pub(crate) mod flex;
pub(crate) mod fp4_expert_linear;
pub(crate) mod fp4_linear;
mod lanes;
pub(crate) mod linear;
pub(crate) mod low_rank;
pub(crate) mod operand;
pub(crate) mod packed_product;
mod saved;
