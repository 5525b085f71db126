//! Checkpoints on disk: round trips, repacking, and how damaged ones and failed saves are reported.
#![allow(clippy::unwrap_used)]

#[path = "../support/files.rs"]
mod files;
#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/model.rs"]
mod model;

mod bad_json;
mod damage;
mod damaged;
mod failed_saves;
mod in_the_wild;
mod misfits;
mod nvfp4;
mod repacking;
mod round_trips;
mod sharding;
mod w4a4;
