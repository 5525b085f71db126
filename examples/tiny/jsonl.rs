//! Examples as rows of HuggingFaceH4/Multilingual-Thinking, with the bare answer in addition.

use std::io::Write;

use serde_json::{Value, json};

use super::example::{Example, INSTRUCTION};

impl Example {
    /// The messages of the conversation; the reasoning is the assistant's `thinking`.
    pub fn messages_json(&self) -> Value {
        json!([
            {"role": "system", "content": self.system()},
            {"role": "user", "content": self.user},
            {"role": "assistant", "content": self.answer_text, "thinking": self.analysis},
        ])
    }

    /// The whole row.
    pub fn row_json(&self) -> Value {
        json!({
            "reasoning_language": self.reasoning_language.name(),
            "developer": INSTRUCTION,
            "user": self.user,
            "analysis": self.analysis,
            "final": self.answer_text,
            "answer": self.answer,
            "messages": self.messages_json(),
        })
    }
}

/// Writes one row per line.
pub fn write_jsonl(mut target: impl Write, examples: &[Example]) -> anyhow::Result<()> {
    for example in examples {
        serde_json::to_writer(&mut target, &example.row_json())?;
        target.write_all(b"\n")?;
    }
    target.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::example::sft_examples;
    use super::super::family::Split;
    use super::write_jsonl;
    use serde_json::Value;

    #[test]
    fn a_row_reads_back_as_it_was() {
        let examples = sft_examples(Split::Train, 20, 1);
        let mut bytes = Vec::new();
        write_jsonl(&mut bytes, &examples).expect("a vector takes all bytes");
        let text = String::from_utf8(bytes).expect("JSON is UTF-8");
        assert_eq!(text.lines().count(), examples.len());
        for (line, example) in text.lines().zip(&examples) {
            let row: Value = serde_json::from_str(line).expect("a line is a row");
            let language = example.reasoning_language.name();
            assert_eq!(row["reasoning_language"], language);
            assert_eq!(row["final"], example.answer_text);
            let messages = &row["messages"];
            let system = format!("reasoning language: {language}\n\nYou are a helpful assistant.");
            assert_eq!(messages[0]["content"], system);
            assert_eq!(messages[1]["content"], row["user"]);
            assert_eq!(messages[2]["thinking"], row["analysis"]);
            assert_eq!(messages[2]["content"], row["final"]);
        }
    }
}
