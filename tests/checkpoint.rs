//! Checkpoints on disk: round trips, repacking, and how damaged ones and failed saves are reported.
#![allow(clippy::unwrap_used)]

#[path = "support/files.rs"]
mod files;
#[path = "support/golden.rs"]
mod golden;
#[path = "support/model.rs"]
mod model;

#[path = "checkpoint/bad_json.rs"]
mod bad_json;
#[path = "checkpoint/damage.rs"]
mod damage;
#[path = "checkpoint/damaged.rs"]
mod damaged;
#[path = "checkpoint/failed_saves.rs"]
mod failed_saves;
#[path = "checkpoint/in_the_wild.rs"]
mod in_the_wild;
#[path = "checkpoint/misfits.rs"]
mod misfits;
#[path = "checkpoint/repacking.rs"]
mod repacking;
#[path = "checkpoint/round_trips.rs"]
mod round_trips;
#[path = "checkpoint/sharding.rs"]
mod sharding;
