//! Settings of training that change what trains, how fast, and for how long.
#![allow(clippy::unwrap_used)]

#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/model.rs"]
mod model;

mod endings;
mod layer_wise;
mod learned;
mod parameters;
mod quantized;
mod refused;
mod reports;
mod run;
mod schedules;
