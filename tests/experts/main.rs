//! Products of tokens with the matrices of their experts, and SwiGLU.
#![allow(clippy::unwrap_used)]

mod block;
mod case;
mod products;
mod reference;
mod routing;
mod swiglu;
