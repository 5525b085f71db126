use std::io::Write;
use std::process::{Command, Stdio};

use burn_gpt_oss::Completion;
use serde_json::json;

use super::Task;
use crate::data::ChatRecord;
use crate::error::QatError;

/// A program that judges: it reads one JSON object with `messages`, `answer`, `thinking` and `content` from its
/// standard input, and ends with 0 for an answer that passes, with 1 for one that does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgeCommand {
    /// The command, as a shell takes it.
    pub command: String,
}

impl Task for JudgeCommand {
    fn passes(&self, record: &ChatRecord, completion: &Completion) -> Result<bool, QatError> {
        let asked = json!({
            "messages": record.messages,
            "answer": record.answer,
            "thinking": completion.thinking,
            "content": completion.content,
            "finished": completion.finished,
        });
        let failed = |message: String| QatError::Judge {
            command: self.command.clone(),
            message,
        };
        let run = || -> std::io::Result<Option<i32>> {
            let mut shell = Command::new("sh");
            let mut judge = shell
                .arg("-c")
                .arg(&self.command)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()?;
            if let Some(mut input) = judge.stdin.take() {
                // One that does not read its input may still know.
                let _ = writeln!(input, "{asked}");
            }
            Ok(judge.wait()?.code())
        };
        match run().map_err(|error| failed(error.to_string()))? {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            Some(code) => Err(failed(format!("it ended with {code}, expected 0 or 1"))),
            None => Err(failed("it was ended by a signal".into())),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use burn_gpt_oss::Message;

    use super::*;

    #[test]
    fn the_exit_code_decides() {
        let judge = |command: &str| {
            let record = ChatRecord {
                messages: vec![Message::user("How?")],
                ..ChatRecord::default()
            };
            let completion = Completion {
                content: Some("Like this.".into()),
                ..Completion::default()
            };
            let command = command.to_owned();
            JudgeCommand { command }.passes(&record, &completion)
        };
        assert!(judge("grep -q 'Like this' && exit 0").unwrap());
        assert!(!judge("grep -q 'Like that'").unwrap());
        assert!(!judge("exit 1").unwrap());
        let error = judge("exit 7").unwrap_err().to_string();
        assert!(
            error.contains("exit 7") && error.contains("ended with 7"),
            "{error}"
        );
    }
}
