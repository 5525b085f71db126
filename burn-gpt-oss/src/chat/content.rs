use std::borrow::Cow;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// What a message says.
///
/// In JSON it is a text, a list of texts, a list of parts `{"type": "text", "text": ...}`, or `null` for
/// a message without content. Any other value is the result of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Texts that are encoded one by one; merges across them would give other tokens. An empty list is
    /// no content at all, as of a message that only calls a tool.
    Text(Vec<String>),
    /// A value that a tool returned; messages of other roles cannot have one.
    Json(Value),
}

impl Content {
    /// No content.
    pub const fn absent() -> Self {
        Self::Text(Vec::new())
    }

    /// Whether there is no content, which is not the same as an empty text.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Text(parts) if parts.is_empty())
    }

    /// The whole text; a value as compact JSON.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(parts) => match parts.as_slice() {
                [part] => Cow::Borrowed(part),
                parts => Cow::Owned(parts.concat()),
            },
            Self::Json(value) => Cow::Owned(value.to_string()),
        }
    }
}

impl Default for Content {
    fn default() -> Self {
        Self::absent()
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(vec![text])
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Vec<String>> for Content {
    fn from(parts: Vec<String>) -> Self {
        Self::Text(parts)
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(parts) => match parts.as_slice() {
                [] => serializer.serialize_none(),
                [text] => serializer.serialize_str(text),
                parts => parts.serialize(serializer),
            },
            Self::Json(value) => value.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::absent()),
            Value::String(text) => Ok(text.into()),
            Value::Array(parts) => {
                let texts = parts.iter().map(part_text).collect::<Result<_, _>>();
                texts.map(Self::Text).map_err(D::Error::custom)
            }
            value => Ok(Self::Json(value)),
        }
    }
}

/// The text of one part of a content.
fn part_text(part: &Value) -> Result<String, String> {
    let text = match part {
        Value::String(text) => Some(text),
        Value::Object(part) if part.get("type").is_none_or(|kind| kind == "text") => {
            match part.get("text") {
                Some(Value::String(text)) => Some(text),
                _ => None,
            }
        }
        _ => None,
    };
    text.cloned().ok_or_else(|| {
        let kind = part.get("type").and_then(Value::as_str);
        match kind {
            Some(kind) => {
                format!("a part of the content is of type `{kind}`, only text can be rendered")
            }
            None => format!("a part of the content is {part}, a text is needed"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Content, String> {
        serde_json::from_str(json).map_err(|error: serde_json::Error| error.to_string())
    }

    #[test]
    fn texts_lists_and_parts_are_read() {
        assert_eq!(read(r#""a""#), Ok("a".into()));
        assert_eq!(read("null"), Ok(Content::absent()));
        let parts = vec!["a".to_owned(), String::new()];
        assert_eq!(read(r#"["a", ""]"#), Ok(parts.clone().into()));
        let typed = r#"[{"type": "text", "text": "a"}, {"text": ""}]"#;
        assert_eq!(read(typed), Ok(parts.into()));
        assert_eq!(read(typed).map(|c| c.text().into_owned()), Ok("a".into()));
    }

    #[test]
    fn other_parts_are_refused_by_their_type() {
        let error = read(r#"[{"type": "image_url", "image_url": {}}]"#).unwrap_err();
        assert!(error.contains("`image_url`"), "{error}");
        assert!(read("[1]").unwrap_err().contains("is 1"));
        assert!(read(r#"[{"type": "text"}]"#).is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let several = Content::from(vec!["a".to_owned(), "b".to_owned()]);
        let value = Content::Json(serde_json::json!({"ok": true}));
        for content in ["x".into(), Content::absent(), several, value] {
            let json = serde_json::to_string(&content).unwrap();
            assert_eq!(read(&json), Ok(content));
        }
    }
}
