use std::path::PathBuf;

use burn_gpt_oss::GptOssError;
use thiserror::Error;

use crate::train::{KeptOutcome, NonFiniteStep, StageOutcome, Trainable};

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
    /// A command that judges answers failed.
    #[error("the judge `{command}`: {message}")]
    Judge {
        /// The command.
        command: String,
        /// How it ended.
        message: String,
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
    /// A recipe cannot be used.
    #[error("{place}: {message}")]
    Recipe {
        /// `FILE:LINE`, or the override or option.
        place: String,
        /// The key, what is wrong, and what is expected.
        message: String,
    },
    /// A run cannot go on from a state.
    #[error("{}: {message}", path.display())]
    Resume {
        /// The directory or file.
        path: PathBuf,
        /// Why, and what to do.
        message: String,
    },
    /// Another run writes to the same place.
    #[error("{}: another run is writing here; choose another directory or wait for its end", path.display())]
    InUse {
        /// The file or directory.
        path: PathBuf,
    },
    /// The loss or a gradient became NaN or infinite. Weights are not changed by such a step.
    #[error(
        "{stage}: {divergence}; lower the learning rate or check the data ({})", kept_words(*kept_step)
    )]
    Diverged {
        /// The training stage.
        stage: String,
        /// Where.
        divergence: Box<NonFiniteStep>,
        /// Step of the best evaluation before, if there was one.
        kept_step: Option<usize>,
        /// Its model, until it is taken.
        kept: Option<KeptOutcome>,
    },
    /// Training stopped on an error, such as a full disk, or the best weights cannot be read back.
    #[error("{stage}: training stopped: {message} ({})", kept_words(*kept_step))]
    Stopped {
        /// The training stage.
        stage: String,
        /// The message of the loop.
        message: String,
        /// Step of the model that was kept.
        kept_step: Option<usize>,
        /// The model, until it is taken.
        kept: Option<KeptOutcome>,
    },
    /// A computation of a stage failed on its device, or its files cannot be used.
    #[error("{stage}: {message}")]
    Training {
        /// The training stage.
        stage: String,
        /// What failed.
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
    /// The file system has too little space for a run.
    #[error(
        "{}: this run writes about {needed}, {available} are free; choose another directory or make room",
        path.display()
    )]
    Disk {
        /// The output directory.
        path: PathBuf,
        /// What is going to be written.
        needed: String,
        /// What is free.
        available: String,
    },
    /// The machine has too little memory for a run.
    #[error("{0}")]
    Memory(String),
}

impl QatError {
    /// Takes the model out of an error of training that left one; the message still tells of it. None if it is of
    /// another module.
    pub fn take_kept<M: Trainable>(&mut self) -> Option<StageOutcome<M>> {
        let (Self::Diverged { kept, .. } | Self::Stopped { kept, .. }) = self else {
            return None;
        };
        match kept.take()?.take() {
            Ok(outcome) => Some(outcome),
            Err(other) => {
                *kept = Some(other);
                None
            }
        }
    }

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

impl QatError {
    /// Examples that cannot be fetched.
    pub(crate) fn examples(name: &str, error: &dyn std::error::Error) -> Self {
        Self::Dataset {
            path: name.into(),
            message: error.to_string(),
        }
    }
}

fn kept_words(step: Option<usize>) -> String {
    match step {
        Some(step) => format!("the weights of step {step} were kept"),
        None => "no weights were kept: no evaluation had succeeded before".into(),
    }
}
