//! Products of tokens with the matrices of their experts, and SwiGLU.
#![allow(clippy::unwrap_used)]

#[path = "experts/block.rs"]
mod block;
#[path = "experts/case.rs"]
mod case;
#[path = "experts/products.rs"]
mod products;
#[path = "experts/reference.rs"]
mod reference;
#[path = "experts/routing.rs"]
mod routing;
#[path = "experts/swiglu.rs"]
mod swiglu;
