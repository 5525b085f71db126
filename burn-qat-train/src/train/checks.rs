//! What must hold before a stage begins.

use super::{TrainConfig, Trainable};
use crate::error::QatError;

/// Fails for settings out of range, a module that they do not suit, and data that has nothing to learn.
pub(super) fn check<M: Trainable>(
    model: &M,
    (train, valid): (&[M::Example], &[M::Example]),
    config: &TrainConfig,
) -> Result<(), QatError> {
    config.check()?;
    model.check(config)?;
    check_examples::<M>("training data", train)?;
    check_examples::<M>("validation data", valid)
}

fn check_examples<M: Trainable>(
    key: &'static str,
    examples: &[M::Example],
) -> Result<(), QatError> {
    let mut n_targets = examples.iter().map(M::n_targets);
    let (holds, found) = match n_targets.position(|targets| targets == 0) {
        Some(i) => (false, format!("example {i} without a target")),
        None => (!examples.is_empty(), "empty".into()),
    };
    match holds {
        true => Ok(()),
        false => Err(QatError::Setting {
            key,
            expected: "examples with targets".into(),
            found,
        }),
    }
}
