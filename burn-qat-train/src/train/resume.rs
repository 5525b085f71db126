//! Training state on disk: what a run that ended early goes on from.
//!
//! A state is a directory `checkpoint-STEP` beside the logs of a stage, with the trained weights, both moments of the
//! optimizer, the curves so far and what the run was started with. It appears under its name when it is complete, and
//! the one before is removed after that, so that a process that is killed at any moment leaves one that can be used.
//! The order of the data and the learning rate follow from the step.

mod fingerprint;
mod saver;
mod state;

use fingerprint::Fingerprint;
pub(super) use saver::StateSaver;
pub use state::saved_step;
pub(super) use state::{OptimizerFile, Restored, State, clear};
