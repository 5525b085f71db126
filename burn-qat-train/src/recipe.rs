//! A run as a file: model, data, adapters and the stages of training, typed, with every value decided.
//!
//! The text becomes a tree whose values know their lines (`yaml`, `toml`), `key.path=value` is laid over it
//! (`overrides`), keys are compared with those that exist (`keys`), and what is left out is filled in (`resolve`).

mod adapted;
mod choices;
mod keys;
mod node;
mod overrides;
mod resolve;
mod settings;
mod source;
mod stage;
mod toml;
mod yaml;

pub use choices::{PolicyChoice, PtqMethods};
pub use settings::{DatasetSettings, EvaluationSettings, Recipe, SystemBlock, TaskName};
pub use source::RecipeSource;
pub use stage::{Method, Stage};
