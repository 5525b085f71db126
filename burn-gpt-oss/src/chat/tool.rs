use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// A function that the model may call.
///
/// Read from OpenAI's shape, `{"type": "function", "function": {...}}`, or from the inner object alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FunctionTool {
    /// The name within the namespace `functions`.
    pub name: String,
    /// What the function does.
    pub description: String,
    /// JSON schema of the arguments, an object. The order of its keys is the order in which parameters
    /// are rendered.
    pub parameters: Option<Value>,
}

/// A call of a function, as chat datasets and OpenAI's API write it.
///
/// Read from `{"id": ..., "function": {"name": ..., "arguments": ...}}` or from the inner object alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToolCall {
    /// The name within the namespace `functions`; a built-in tool has its namespace before its name.
    pub name: String,
    /// The arguments. The published chat template writes a text as a JSON string, with quotes: give it
    /// an object.
    pub arguments: Value,
    /// The type of the content; `None` is `json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// What the result names as its call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl ToolCall {
    /// A call with arguments and nothing else.
    pub fn new(name: impl Into<String>, arguments: Value) -> Self {
        Self {
            name: name.into(),
            arguments,
            content_type: None,
            id: None,
        }
    }

    /// A call as a model wrote it: an object, or the text if it is none, as code for Python is.
    pub(crate) fn generated(recipient: &str, text: &str) -> Self {
        let name = recipient.strip_prefix("functions.").unwrap_or(recipient);
        let arguments = serde_json::from_str(text.trim());
        let object = arguments
            .ok()
            .filter(Value::is_object)
            .filter(|_| name != "python");
        Self::new(name, object.unwrap_or_else(|| text.into()))
    }
}

impl<'de> Deserialize<'de> for FunctionTool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let outer = Map::deserialize(deserializer)?;
        let kind = outer.get("type").and_then(Value::as_str);
        if let Some(kind) = kind.filter(|kind| *kind != "function") {
            let reason = format!("a tool of type `{kind}`, only functions can be rendered");
            return Err(D::Error::custom(reason));
        }
        let mut tool = inner(outer).map_err(D::Error::custom)?;
        let parameters = tool.remove("parameters").filter(|value| !value.is_null());
        if let Some(other) = parameters.as_ref().filter(|value| !value.is_object()) {
            let reason = format!("`parameters` is {other}, a JSON schema is needed");
            return Err(D::Error::custom(reason));
        }
        let description = match tool.remove("description") {
            None | Some(Value::Null) => String::new(),
            Some(value) => text("description", value).map_err(D::Error::custom)?,
        };
        Ok(Self {
            name: name(&mut tool).map_err(D::Error::custom)?,
            description,
            parameters,
        })
    }
}

impl<'de> Deserialize<'de> for ToolCall {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut outer = Map::deserialize(deserializer)?;
        let id = outer.remove("id").filter(|id| !id.is_null());
        let id = id.map(|id| text("id", id)).transpose();
        let mut call = inner(outer).map_err(D::Error::custom)?;
        let content_type = call.remove("content_type");
        let content_type = content_type.map(|kind| text("content_type", kind));
        Ok(Self {
            name: name(&mut call).map_err(D::Error::custom)?,
            arguments: call
                .remove("arguments")
                .ok_or_else(|| D::Error::custom("the call has no `arguments`"))?,
            content_type: content_type.transpose().map_err(D::Error::custom)?,
            id: id.map_err(D::Error::custom)?,
        })
    }
}

/// The object that describes the function.
fn inner(mut outer: Map<String, Value>) -> Result<Map<String, Value>, String> {
    match outer.remove("function") {
        None => Ok(outer),
        Some(Value::Object(inner)) => Ok(inner),
        Some(other) => Err(format!("`function` is {other}, an object is needed")),
    }
}

fn name(object: &mut Map<String, Value>) -> Result<String, String> {
    let name = object.remove("name").ok_or("the function has no `name`")?;
    text("name", name)
}

fn text(key: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("`{key}` is {other}, a text is needed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_are_read() {
        let nested = r#"{"type": "function", "function": {"name": "f", "description": "d",
            "parameters": {"type": "object"}}}"#;
        let flat = r#"{"name": "f", "description": "d", "parameters": {"type": "object"}}"#;
        let tool: FunctionTool = serde_json::from_str(nested).unwrap();
        assert_eq!(tool, serde_json::from_str(flat).unwrap());
        let call =
            r#"{"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}"#;
        let call: ToolCall = serde_json::from_str(call).unwrap();
        assert_eq!(
            (call.id.as_deref(), call.arguments["a"].as_i64()),
            (Some("c1"), Some(1))
        );
    }

    #[test]
    fn mistakes_are_named() {
        let tool = |json: &str| {
            serde_json::from_str::<FunctionTool>(json)
                .unwrap_err()
                .to_string()
        };
        assert!(tool(r#"{"type": "web_search"}"#).contains("`web_search`"));
        assert!(tool(r#"{"function": {"description": "d"}}"#).contains("`name`"));
        assert!(tool(r#"{"name": "f", "parameters": "x"}"#).contains("JSON schema"));
        let call = serde_json::from_str::<ToolCall>(r#"{"name": "f"}"#).unwrap_err();
        assert!(call.to_string().contains("`arguments`"), "{call}");
    }
}
