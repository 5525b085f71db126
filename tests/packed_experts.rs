//! Experts that stay packed in memory: products, packing, loading and saving.
#![allow(clippy::unwrap_used)]

#[path = "support/files.rs"]
mod files;
#[path = "support/golden.rs"]
mod golden;
#[path = "support/model.rs"]
mod model;

#[path = "packed_experts/files.rs"]
mod checkpoints;
#[path = "packed_experts/packing.rs"]
mod packing;
#[path = "packed_experts/products.rs"]
mod products;
