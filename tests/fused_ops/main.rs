//! Operations that take one pass where plain tensors take many, against these plain tensors in
//! float64 and against differences of their own values.
#![allow(clippy::unwrap_used)]

#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/model.rs"]
mod model;
#[path = "../support/plain_model.rs"]
mod plain_model;

mod embedding;
mod linear;
mod next_token_loss;
mod ordered_sum;
mod reference;
mod rms_norm;
mod rotary;
#[path = "model.rs"]
mod whole_model;
