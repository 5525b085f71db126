//! Operations on every runtime there is, against Flex and float64.
#![cfg(feature = "_cube")]

#[path = "../support/cube.rs"]
mod cube;
#[path = "../../../burn-fp4/tests/support/runtimes.rs"]
mod runtimes;

mod attention;
mod embedding;
mod experts;
mod linear;
mod next_token_loss;
mod rms_norm;
mod rotary;
mod swiglu;
mod tensors;
