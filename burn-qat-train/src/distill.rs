//! Distillation: a student learns the distribution that a frozen teacher gives for every target.

mod config;
mod divergence;
mod head;
mod teacher;

pub use config::DistillConfig;
pub use divergence::Divergence;
pub use teacher::Teacher;
