use std::io::{BufRead, BufReader};
use std::path::Path;

use burn_gpt_oss::Message;
use serde::{Deserialize, Serialize};

use crate::QatError;

/// One line of a chat dataset, in the shape of HuggingFaceH4/Multilingual-Thinking: `messages` with
/// `role`, `content` and optional `thinking`. Other columns are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatRecord {
    /// The conversation; the first message may be of role `system`.
    pub messages: Vec<Message>,
    /// Language the analysis is written in, as `French`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_language: Option<String>,
    /// What a right final answer must contain; only used by the evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Line of the file it was read from, from 1; for messages.
    #[serde(skip)]
    pub line: Option<usize>,
}

/// Reads a JSONL file. Blank lines are skipped.
///
/// # Errors
/// The first bad line by number: malformed JSON, an unknown role, a conversation without messages or
/// without an assistant message; and a file without any line.
pub fn read_jsonl(path: impl AsRef<Path>) -> Result<Vec<ChatRecord>, QatError> {
    let path = path.as_ref();
    let file = std::fs::File::open(path).map_err(QatError::io(path, "open"))?;
    let mut records = Vec::new();
    for (i, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(QatError::io(path, "read"))?;
        if line.trim().is_empty() {
            continue;
        }
        let mut record = parse_line(&line).map_err(|message| QatError::DatasetLine {
            path: path.to_path_buf(),
            line: i + 1,
            message,
        })?;
        record.line = Some(i + 1);
        records.push(record);
    }
    if records.is_empty() {
        let message = "no conversations; expected one JSON object with `messages` per line".into();
        return Err(QatError::Dataset {
            path: path.to_path_buf(),
            message,
        });
    }
    Ok(records)
}

fn parse_line(line: &str) -> Result<ChatRecord, String> {
    let record: ChatRecord =
        serde_json::from_str(line).map_err(|error| format!("not a chat record: {error}"))?;
    if !record
        .messages
        .iter()
        .any(|message| message.role == burn_gpt_oss::Role::Assistant)
    {
        return Err("`messages` has no message of role `assistant` to learn from".into());
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_rows_parse_and_extra_columns_are_ignored() {
        let line = r#"{"reasoning_language":"French","developer":"d","user":"u","analysis":"a",
            "final":"f","messages":[
            {"role":"system","content":"reasoning language: French\n\nd","thinking":null},
            {"role":"user","content":"u","thinking":null},
            {"role":"assistant","content":"f","thinking":"a"}]}"#;
        let record = parse_line(line).expect("a published row");
        assert_eq!(record.messages.len(), 3);
        assert_eq!(record.messages[2].thinking.as_deref(), Some("a"));
    }

    #[test]
    fn bad_lines_say_what_is_wrong() {
        let role =
            parse_line(r#"{"messages":[{"role":"robot","content":"x"}]}"#).expect_err("role");
        assert!(
            role.contains("robot") && role.contains("assistant"),
            "{role}"
        );
        let key = parse_line(r#"{"text":"x"}"#).expect_err("key");
        assert!(key.contains("messages"), "{key}");
        let turn = parse_line(r#"{"messages":[{"role":"user","content":"x"}]}"#).expect_err("turn");
        assert!(turn.contains("assistant"), "{turn}");
    }
}
