use burn_gpt_oss::{Completion, Message, Role};

use super::Task;
use crate::data::ChatRecord;
use crate::error::QatError;
use crate::evaluate::Language;

/// The published experiment with HuggingFaceH4/Multilingual-Thinking: the model must think in the language that is
/// asked for and still answer right. An answer that was not finished is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Multilingual;

impl Task for Multilingual {
    fn passes(&self, record: &ChatRecord, completion: &Completion) -> Result<bool, QatError> {
        Ok(thinks_as_asked(record, completion) && answers_right(record, completion))
    }
}

/// Whether the analysis is written in the asked language; true where none is asked, false for languages that
/// cannot be recognized.
fn thinks_as_asked(record: &ChatRecord, completion: &Completion) -> bool {
    let thinking = completion.thinking.as_deref().unwrap_or_default();
    asked_language(record).is_none_or(|asked| Language::is(&asked, thinking))
}

/// Whether the final answer contains the expected one; where none is given, whether it is not empty.
fn answers_right(record: &ChatRecord, completion: &Completion) -> bool {
    let content = completion.content.as_deref().unwrap_or_default();
    let right = match &record.answer {
        Some(expected) => contains_words(content, expected),
        None => !content.trim().is_empty(),
    };
    right && completion.finished
}

/// The language a record asks for: its column, or `reasoning language: X` in its first message.
fn asked_language(record: &ChatRecord) -> Option<String> {
    if let Some(name) = &record.reasoning_language {
        return Some(name.clone());
    }
    let instructs = |m: &&Message| matches!(m.role, Role::System | Role::Developer);
    let first = record.messages.first().filter(instructs)?;
    let text = first.content.text();
    let language = text.lines().next()?.strip_prefix("reasoning language:");
    language.map(str::to_owned)
}

/// Whether the words of `expected` occur in `text` one after the other, in any case.
fn contains_words(text: &str, expected: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let text = text.to_lowercase();
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_string)
            .collect()
    };
    let (text, expected) = (words(text), words(expected));
    !expected.is_empty()
        && text
            .windows(expected.len())
            .any(|window| window == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(language: &str, answer: Option<&str>) -> ChatRecord {
        ChatRecord {
            messages: vec![Message::system(format!(
                "reasoning language: {language}\n\nBe brief."
            ))],
            answer: answer.map(str::to_string),
            ..ChatRecord::default()
        }
    }

    fn completion(thinking: &str, content: &str) -> Completion {
        Completion {
            thinking: Some(thinking.into()),
            content: Some(content.into()),
            finished: true,
            ..Completion::default()
        }
    }

    #[test]
    fn both_conditions_are_needed() {
        let french = "Il y a 3 pommes et 4 de plus, donc la réponse est 7.";
        let english = "There are 3 apples and 4 more, so the answer is 7.";
        let record = record("French", Some("7"));
        assert!(
            Multilingual
                .passes(&record, &completion(french, "Anna hat 7 Äpfel."))
                .unwrap()
        );
        assert!(
            !Multilingual
                .passes(&record, &completion(english, "Anna hat 7 Äpfel."))
                .unwrap()
        );
        assert!(
            !Multilingual
                .passes(&record, &completion(french, "Anna hat 17 Äpfel."))
                .unwrap()
        );
        let mut cut = completion(french, "Anna hat 7");
        cut.finished = false;
        assert!(!Multilingual.passes(&record, &cut).unwrap());
    }

    #[test]
    fn without_a_reference_an_answer_is_enough() {
        let record = record("English", None);
        let thinking = "The user greets, so we greet.";
        assert!(
            Multilingual
                .passes(&record, &completion(thinking, "Hello!"))
                .unwrap()
        );
        assert!(
            !Multilingual
                .passes(&record, &completion(thinking, " "))
                .unwrap()
        );
    }
}
