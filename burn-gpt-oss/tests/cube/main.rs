//! Operations on every runtime there is, against Flex and float64.
#![cfg(feature = "_cube")]

mod attention;
mod embedding;
mod next_token_loss;
mod rms_norm;
mod rotary;
mod swiglu;
mod tensors;
