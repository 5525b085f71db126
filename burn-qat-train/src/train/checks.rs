//! What must hold before a stage begins.

use super::{ExampleData, TrainConfig, Trainable};
use crate::error::QatError;

/// Fails for settings out of range, a module that they do not suit, and data that has nothing to learn.
pub(super) fn check<M: Trainable>(
    model: &M,
    (train, valid): (&ExampleData<M::Example>, &ExampleData<M::Example>),
    config: &TrainConfig,
) -> Result<(), QatError> {
    config.check()?;
    model.check(config)?;
    check_examples::<M>("training data", train)?;
    check_examples::<M>("validation data", valid)
}

fn check_examples<M: Trainable>(
    key: &'static str,
    examples: &ExampleData<M::Example>,
) -> Result<(), QatError> {
    let (mut holds, mut found) = (!examples.is_empty(), "empty".to_owned());
    // Those with a fingerprint were looked at when it was made.
    if examples.fingerprint().is_none() {
        for (i, example) in examples.iter().enumerate() {
            let example = example.map_err(|error| QatError::examples(key, &error))?;
            if M::n_targets(&example) == 0 {
                (holds, found) = (false, format!("example {i} without a target"));
                break;
            }
        }
    }
    match holds {
        true => Ok(()),
        false => Err(QatError::Setting {
            key,
            expected: "examples with targets".into(),
            found,
        }),
    }
}
