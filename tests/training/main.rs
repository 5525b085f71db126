//! Training: what changes what trains, how fast, in how little memory and for how long, what is kept of it, and what it
//! gives. One program, because Burn's training loop is compiled anew for each.
#![allow(clippy::unwrap_used)]

#[path = "../support/deviation.rs"]
mod deviation;
#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/model.rs"]
mod model;

mod adamw;
mod any_module;
mod best_model;
mod distill;
mod endings;
mod export;
mod global_scales;
mod gptq;
mod layer_wise;
mod learned;
mod memory_plan;
mod packing;
mod parameters;
mod quantized;
mod recompute;
mod refused;
mod reports;
mod run;
mod schedules;

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
