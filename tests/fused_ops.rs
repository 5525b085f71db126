//! Operations that take one pass where plain tensors take many, against these plain tensors in
//! float64 and against differences of their own values.
#![allow(clippy::unwrap_used)]

#[path = "support/golden.rs"]
mod golden;
#[path = "support/model.rs"]
mod model;
#[path = "support/plain_model.rs"]
mod plain_model;

#[path = "fused_ops/embedding.rs"]
mod embedding;
#[path = "fused_ops/linear.rs"]
mod linear;
#[path = "fused_ops/next_token_loss.rs"]
mod next_token_loss;
#[path = "fused_ops/ordered_sum.rs"]
mod ordered_sum;
#[path = "fused_ops/reference.rs"]
mod reference;
#[path = "fused_ops/rms_norm.rs"]
mod rms_norm;
#[path = "fused_ops/rotary.rs"]
mod rotary;
#[path = "fused_ops/model.rs"]
mod whole_model;
