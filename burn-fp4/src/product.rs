//! Rows times a packed weight.

pub(crate) mod fp4_expert_linear;
pub(crate) mod fp4_linear;
pub(crate) mod packed_product;
