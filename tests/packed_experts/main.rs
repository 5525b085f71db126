//! Experts that stay packed in memory: products, packing, loading and saving.
#![allow(clippy::unwrap_used)]

#[path = "../support/files.rs"]
mod files;
#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/model.rs"]
mod model;

#[path = "files.rs"]
mod checkpoints;
mod packing;
mod products;
