use std::path::PathBuf;

use burn_gpt_oss::GptOssError;
use thiserror::Error;

/// Everything that can go wrong while fine-tuning, evaluating and exporting.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QatError {
    /// A checkpoint, tokenizer or conversation.
    #[error(transparent)]
    Model(#[from] GptOssError),
    /// A file could not be read or written.
    #[error("{}: {action} failed: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A line of a dataset cannot be used.
    #[error("{}:{line}: {message}", path.display())]
    DatasetLine {
        /// The dataset file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong and what is expected.
        message: String,
    },
    /// A dataset has nothing to train or evaluate on.
    #[error("{}: {message}", path.display())]
    Dataset {
        /// The dataset file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A quantization policy cannot be applied.
    #[error("quantization policy `{policy}`: {message}")]
    Policy {
        /// Name of the policy.
        policy: String,
        /// What is wrong.
        message: String,
    },
    /// A setting is out of range.
    #[error("`{key}` is {found}, expected {expected}")]
    Setting {
        /// The setting.
        key: &'static str,
        /// What would be accepted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The loss became NaN or infinite.
    #[error(
        "{stage}: the loss is {loss} at step {step}; lower the learning rate or check the data \
         (the last good checkpoint was kept)"
    )]
    Diverged {
        /// The training stage.
        stage: String,
        /// Optimizer step, from 1.
        step: usize,
        /// The loss.
        loss: f64,
    },
    /// Burn's training loop stopped on an error.
    #[error("{stage}: training failed: {message}")]
    Training {
        /// The training stage.
        stage: String,
        /// The message of the loop.
        message: String,
    },
    /// An export does not hold the values that were trained.
    #[error(
        "{}: tensor `{tensor}` differs from the fake-quantized weight at element {index}: \
         {found} instead of {expected}; do not use this export",
        path.display()
    )]
    ExportMismatch {
        /// The exported directory.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Flat index in the module's layout.
        index: usize,
        /// The value trained with.
        expected: f32,
        /// The value read back.
        found: f32,
    },
    /// The machine has too little memory for a run.
    #[error("{0}")]
    Memory(String),
}

impl QatError {
    /// Wraps an error of the operating system together with its path.
    pub(crate) fn io(
        path: impl Into<PathBuf>,
        action: &'static str,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            path,
            action,
            source,
        }
    }
}
