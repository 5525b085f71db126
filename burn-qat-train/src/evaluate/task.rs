//! What a right answer is.

mod command;
mod multilingual;
mod refusal;

use std::fmt::Debug;

use burn_gpt_oss::Completion;

pub use command::JudgeCommand;
pub use multilingual::Multilingual;
pub use refusal::OverRefusal;

use crate::data::ChatRecord;
use crate::error::QatError;

/// Judges answers to held-out prompts.
///
/// ```
/// use burn_gpt_oss::Completion;
/// use burn_qat_train::{ChatRecord, QatError, Task};
///
/// /// Answers of at most ten words.
/// #[derive(Debug)]
/// struct Brief;
///
/// impl Task for Brief {
///     fn passes(&self, _: &ChatRecord, completion: &Completion) -> Result<bool, QatError> {
///         let content = completion.content.as_deref().unwrap_or_default();
///         Ok(completion.finished && content.split_whitespace().count() <= 10)
///     }
/// }
/// ```
pub trait Task: Debug + Send + Sync {
    /// Whether an answer passes; `record` is the conversation that it answers, with the answer that it has in
    /// the dataset.
    ///
    /// # Errors
    /// Why it could not be judged: the evaluation ends.
    fn passes(&self, record: &ChatRecord, completion: &Completion) -> Result<bool, QatError>;
}
