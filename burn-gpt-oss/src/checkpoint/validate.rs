//! Looks at a checkpoint before somebody deploys it: what is in it, whether it equals another one, and what each engine
//! would do with it.

mod compare;
mod content;
mod directory;
mod engines;
mod gguf;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{CheckpointProgress, CheckpointReader};
use crate::error::GptOssError;

pub use compare::Comparison;
pub use content::{MatrixContent, WeightContent};
pub use engines::{Engine, EngineVerdict, Verdict};

/// All that a validation found.
#[derive(Clone, Debug, Serialize)]
pub struct ValidationReport {
    /// The directory or the GGUF file.
    pub path: PathBuf,
    /// The form of the experts and whose names the tensors have; none if the weights cannot be read.
    pub form: Option<String>,
    /// Number of tensors in the files, and their bytes.
    pub tensors: usize,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// What is wrong or remarkable, the worst first.
    pub findings: Vec<Finding>,
    /// What the weights are like; none if they cannot be read.
    pub content: Option<WeightContent>,
    /// The comparison that was asked for.
    pub comparison: Option<Comparison>,
    /// What each engine does with it.
    pub engines: Vec<EngineVerdict>,
}

/// Something that a user should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file, tensor or key.
    pub subject: String,
    /// What is the matter, and what to do.
    pub message: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The checkpoint is broken.
    Error,
    /// Some program will do something else than expected.
    Warning,
    /// Worth a look.
    Note,
}

impl ValidationReport {
    /// Whether nothing is wrong with the checkpoint itself; engines may refuse it all the same.
    pub fn is_sound(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.severity != Severity::Error)
            && self.comparison.as_ref().is_none_or(Comparison::is_equal)
    }

    /// The verdict of one engine.
    pub fn verdict(&self, engine: Engine) -> Option<&EngineVerdict> {
        self.engines.iter().find(|verdict| verdict.engine == engine)
    }
}

impl Finding {
    fn new(severity: Severity, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity,
            subject: subject.into(),
            message: message.into(),
        }
    }
}

/// Validates a checkpoint directory or a GGUF file; with `against`, also compares every weight with that of another
/// checkpoint directory, bit for bit.
///
/// Everything that is wrong with the checkpoint is a [`Finding`], not an error.
///
/// # Errors
/// A path that does not exist, a checkpoint to compare with that cannot be read, and [`GptOssError::FileChanged`].
pub fn validate_checkpoint(
    path: impl AsRef<Path>,
    against: Option<&Path>,
    progress: impl FnMut(CheckpointProgress<'_>),
) -> Result<ValidationReport, GptOssError> {
    let path = path.as_ref();
    let metadata = std::fs::metadata(path).map_err(GptOssError::io(path, "open"))?;
    let against = against.map(CheckpointReader::open).transpose()?;
    let mut report = match metadata.is_file() {
        true => gguf::validate(path, against.as_ref())?,
        false => directory::validate(path, against.as_ref(), progress)?,
    };
    if let Some(against) = &against {
        against.check_unchanged()?;
    }
    report.findings.sort_by_key(|finding| finding.severity);
    Ok(report)
}
