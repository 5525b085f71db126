//! Kernels on every runtime there is, against Flex.
#![cfg(feature = "_cube")]

#[path = "../support/cases.rs"]
mod cases;
#[path = "../support/views.rs"]
mod views;

mod experts;
mod fake_quantize;
mod golden;
mod linear;
mod pack;
mod products;
mod tensors;
