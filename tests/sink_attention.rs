//! Attention with sinks as one operation: values and gradients against plain tensor operations, against
//! sums in f64 and their differences, and what a whole model makes of it.
#![allow(clippy::unwrap_used)]

#[path = "support/golden.rs"]
mod golden;
#[path = "support/model.rs"]
mod model;

#[path = "sink_attention/case.rs"]
mod case;
#[path = "sink_attention/composition.rs"]
mod composition;
#[path = "sink_attention/differences.rs"]
mod differences;
#[path = "sink_attention/packed.rs"]
mod packed;
#[path = "sink_attention/properties.rs"]
mod properties;
