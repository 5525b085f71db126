//! Attention with sinks as one operation: values and gradients against plain tensor operations, against
//! sums in f64 and their differences, and what a whole model makes of it.
#![allow(clippy::unwrap_used)]

#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/model.rs"]
mod model;

mod algebra;
mod case;
mod composition;
mod differences;
mod packed;
mod properties;
