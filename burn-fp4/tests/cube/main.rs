//! Kernels on every runtime there is, against Flex.
#![cfg(feature = "_cube")]

#[path = "../support/cases.rs"]
mod cases;
#[path = "../support/runtimes.rs"]
mod runtimes;
#[path = "../support/views.rs"]
mod views;

mod fake_quantize;
mod golden;
mod pack;
mod products;
mod tensors;
