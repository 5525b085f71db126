use burn_gpt_oss::{
    BuiltinTool, Conversation, FunctionTool, HarmonyVariant, Message, ReasoningEffort, Role,
    SystemContent,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::foreign::kind_of;
use super::message::MessageJson;
use super::shape::{Shaped, shape};
use super::{DataNotes, message};

/// A conversation of a dataset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatRecord {
    /// The conversation; the first message may be of role `system`.
    pub messages: Vec<Message>,
    /// A plain text in place of messages, trained whole.
    pub text: Option<String>,
    /// Functions that the model may call.
    pub tools: Vec<FunctionTool>,
    /// Built-in tools in the system message of this conversation.
    pub builtin_tools: Vec<BuiltinTool>,
    /// First line of the system message of this conversation; `None` leaves the usual one.
    pub model_identity: Option<String>,
    /// Indices of the messages that are never trained, in ascending order.
    pub untrained: Vec<usize>,
    /// Reasoning effort in the system message of this conversation; `None` leaves that of
    /// [`ChatFormat`](crate::ChatFormat).
    pub reasoning_effort: Option<ReasoningEffort>,
    /// Language the analysis is written in, as `French`.
    pub reasoning_language: Option<String>,
    /// What a right final answer must contain; only used by the evaluation.
    pub answer: Option<String>,
    /// Line of the file it was read from, from 1; for messages.
    pub line: Option<usize>,
}

/// Keys of a row that would change what is trained and are not offered.
const REFUSED: [&str; 5] = ["audio", "documents", "image", "images", "videos"];

impl ChatRecord {
    /// Reads a row of a dataset: `messages` with `role`, `content` and optional `thinking` (or
    /// `reasoning_content`, `reasoning`), or another of the shapes that `docs/data.md` lists. A message with
    /// `weight: 0`, `train: false`, `trainable: false` or `loss_mask: 0` is not trained.
    ///
    /// `notes` receives the keys that are not used, and contents that look wrong.
    ///
    /// # Errors
    /// What is wrong with the row: no known shape, an unknown role, a conversation that harmony cannot
    /// express or that has no assistant message.
    pub fn from_json(
        row: &Value,
        line: Option<usize>,
        notes: &mut DataNotes,
    ) -> Result<Self, String> {
        let row = object(row)?;
        let mut record = Self {
            line,
            ..Self::default()
        };
        let (messages, used) = match shape(row)? {
            Shaped::Messages(messages, used) => (messages, used),
            Shaped::Text(text) => {
                let trained = record.read_row(row, &["text"], notes)?;
                let is_told = row
                    .get("system")
                    .is_some_and(|value| !message::is_empty(value));
                if is_told || !record.tools.is_empty() || record.speaks_of_system() {
                    return Err(
                        "a plain `text` has no system message and no tools; give `messages`".into(),
                    );
                }
                record.untrained.extend((!trained).then_some(0));
                record.text = Some(text);
                return Ok(record);
            }
        };
        let trained = record.read_row(row, used, notes)?;
        record.take_system(row)?;
        let n_before = record.messages.len();
        for (index, message) in messages.iter().enumerate() {
            let read = MessageJson::read(message, line, notes);
            let read = read.map_err(|reason| format!("message {index}: {reason}"))?;
            if !read.trained || !trained {
                record.untrained.push(n_before + index);
            }
            record.messages.push(read.message);
        }
        record.check()?;
        record.look_at_contents(notes);
        Ok(record)
    }

    /// A system text beside the messages stands before them.
    fn take_system(&mut self, row: &Map<String, Value>) -> Result<(), String> {
        let Some(system) = row.get("system") else {
            return Ok(());
        };
        let system = message::text("system", system)?.filter(|text| !text.is_empty());
        self.messages.extend(system.map(Message::system));
        Ok(())
    }

    /// Reads what is said of the whole row; whether its messages are trained unless they say otherwise.
    fn read_row(
        &mut self,
        row: &Map<String, Value>,
        used: &[&str],
        notes: &mut DataNotes,
    ) -> Result<bool, String> {
        let mut all_trained = true;
        for (key, value) in row {
            let set = !value.is_null();
            match key.as_str() {
                key if used.contains(&key) => {}
                "system" => {}
                "reasoning_language" => self.reasoning_language = message::text(key, value)?,
                "answer" => self.answer = message::text(key, value)?,
                "reasoning_effort" if set => self.reasoning_effort = Some(effort(value)?),
                "tools" | "functions" if !message::is_empty(value) => {
                    self.tools = from_value_or_text(key, value)?;
                }
                "model_identity" if set => self.model_identity = message::text(key, value)?,
                "builtin_tools" if set => self.builtin_tools = from_value_or_text(key, value)?,
                "chat_template_kwargs" if set => self.read_kwargs(value)?,
                key if message::TRAINED.contains(&key) && set => {
                    all_trained &= message::flag(key, value)?;
                }
                refused if REFUSED.contains(&refused) && !message::is_empty(value) => {
                    return Err(format!(
                        "`{key}` would change what is trained and is not offered; remove it from the row"
                    ));
                }
                // An absent value changes nothing, whatever it is called.
                _ if message::is_empty(value) => {}
                _ => notes.add(format!("key `{key}` of the row is not used"), self.line),
            }
        }
        Ok(all_trained)
    }

    /// What a row gives to the chat template.
    fn read_kwargs(&mut self, value: &Value) -> Result<(), String> {
        let kwargs = value
            .as_object()
            .ok_or("`chat_template_kwargs` is no object")?;
        for (key, value) in kwargs.iter().filter(|(_, value)| !value.is_null()) {
            match key.as_str() {
                "reasoning_effort" => self.reasoning_effort = Some(effort(value)?),
                "model_identity" => self.model_identity = message::text(key, value)?,
                "builtin_tools" => self.builtin_tools = from_value_or_text(key, value)?,
                _ => {
                    return Err(format!(
                        "`chat_template_kwargs` has `{key}`, which the template of gpt-oss does not know"
                    ));
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if !self
            .messages
            .iter()
            .any(|message| message.role == Role::Assistant)
        {
            return Err("`messages` has no message of role `assistant` to learn from".into());
        }
        // The library can express more than the template.
        self.check_for(HarmonyVariant::Library)
    }

    /// Whether it can be rendered.
    pub(super) fn check_for(&self, variant: HarmonyVariant) -> Result<(), String> {
        if self.text.is_some() {
            return Ok(());
        }
        let conversation = self.conversation(self.messages.clone(), None);
        let checked = conversation.and_then(|conversation| conversation.check(variant));
        checked.map_err(|error| error.to_string())
    }

    /// Some of its messages as a conversation, with what it says of tools and the system message.
    pub(super) fn conversation(
        &self,
        messages: Vec<Message>,
        system: Option<SystemContent>,
    ) -> Result<Conversation, burn_gpt_oss::GptOssError> {
        let system = system.map(|mut system| {
            system.reasoning_effort = self.reasoning_effort.or(system.reasoning_effort);
            system.model_identity = self.model_identity.clone().or(system.model_identity);
            system.builtin_tools.extend(&self.builtin_tools);
            system
        });
        let conversation = Conversation::from_chat(messages, system)?;
        Ok(conversation.with_tools(self.tools.clone()))
    }

    /// Whether it says something that only a system message can hold.
    pub(super) fn speaks_of_system(&self) -> bool {
        self.reasoning_effort.is_some()
            || self.model_identity.is_some()
            || !self.builtin_tools.is_empty()
    }

    /// Counts what is allowed and hardly ever meant.
    fn look_at_contents(&self, notes: &mut DataNotes) {
        const MARKERS: [&str; 8] = [
            "<|start|>",
            "<|channel|>",
            "<|message|>",
            "<|end|>",
            "<|return|>",
            "<|call|>",
            "<|constrain|>",
            "<|endoftext|>",
        ];
        for message in &self.messages {
            let content = message.content.text();
            let texts = [Some(content.as_ref()), message.thinking.as_deref()];
            let has = |marker: &str| texts.iter().flatten().any(|text| text.contains(marker));
            if MARKERS.into_iter().any(has) {
                let text = "harmony markup such as `<|channel|>` within a text: it is trained as ordinary \
                     characters, use `thinking` and `channel` instead";
                notes.add(text, self.line);
            }
            if message.role != Role::Assistant {
                continue;
            }
            if has("<think>") || has("</think>") {
                let text = "`<think>` within an answer: it is trained as ordinary characters, use \
                     `thinking` instead";
                notes.add(text, self.line);
            }
            if content.trim().is_empty() && message.tool_calls.is_empty() {
                notes.add("empty answer, trained as it is", self.line);
            }
        }
    }
}

fn object(row: &Value) -> Result<&Map<String, Value>, String> {
    match row {
        Value::Object(row) => Ok(row),
        Value::Array(_) => Err(
            "the row is an array, an object with `messages` is needed; convert: jq -c '{messages: .}' \
             FILE > NEW"
                .into(),
        ),
        other => Err(format!(
            "the row is {}, an object with `messages` is needed",
            kind_of(other)
        )),
    }
}

/// A value, or the text of one: columns of tables hold nothing else.
fn from_value_or_text<T: DeserializeOwned>(key: &str, value: &Value) -> Result<T, String> {
    let read = match value {
        Value::String(text) => serde_json::from_str(text),
        value => serde_json::from_value(value.clone()),
    };
    read.map_err(|error| format!("`{key}`: {error}"))
}

fn effort(value: &Value) -> Result<ReasoningEffort, String> {
    serde_json::from_value(value.clone())
        .map_err(|_| format!("`reasoning_effort` is {value}, expected low, medium or high"))
}
