//! Functions as the chat template of the published gpt-oss checkpoints describes them (transformers
//! 5.23, jinja2 3.1): on fewer lines than harmony does, with stray spaces, some descriptions left out.

use serde_json::{Map, Value};

use super::json_text::python_json;
use super::python::{is_true, str};
use crate::chat::tool::FunctionTool;

pub(super) fn section(tools: &[FunctionTool]) -> Result<String, String> {
    let mut out = "# Tools\n\n## functions\n\nnamespace functions {\n\n".to_owned();
    for tool in tools {
        let parameters =
            parameters(tool).map_err(|reason| format!("tool `{}`: {reason}", tool.name))?;
        out.push_str(&format!(
            "// {}\ntype {} = ({parameters}) => any;\n\n",
            tool.description, tool.name
        ));
    }
    Ok(out + "} // namespace functions")
}

fn parameters(tool: &FunctionTool) -> Result<String, String> {
    let Some(schema) = &tool.parameters else {
        return Ok(String::new());
    };
    let Some(properties) = properties(schema)? else {
        return Ok(String::new());
    };
    let mut out = "_: {\n".to_owned();
    for (name, property) in properties {
        let line = parameter(name, property, is_required(schema, name));
        out.push_str(&line.map_err(|reason| format!("parameter `{name}`: {reason}"))?);
    }
    Ok(out + "}")
}

fn parameter(name: &str, schema: &Value, required: bool) -> Result<String, String> {
    let mut out = String::new();
    if let Some(description) = set(schema, "description") {
        out.push_str(&format!("// {}\n", text("description", description)?));
    }
    let optional = if required { "" } else { "?" };
    out.push_str(&format!("{name}{optional}: {}", type_of(schema)?));
    if let Some(default) = schema.get("default") {
        let written = match (set(schema, "enum"), set(schema, "oneOf")) {
            (Some(_), _) => format!(", // default: {}", text("default", default)?),
            (None, Some(_)) => format!("// default: {}", text("default", default)?),
            (None, None) => format!(", // default: {}", python_json(default)),
        };
        out.push_str(&written);
    }
    Ok(out + ",\n")
}

fn type_of(schema: &Value) -> Result<String, String> {
    let types = schema.get("type");
    if let Some(Value::Array(types)) = types
        && !types.is_empty()
    {
        let types: Vec<String> = types.iter().map(str).collect();
        return Ok(types.join(" | "));
    }
    let json_type = types.and_then(Value::as_str);
    if json_type == Some("array") {
        return Ok(array(schema)? + nullable(schema));
    }
    if let Some(variants) = set(schema, "oneOf") {
        return union(variants);
    }
    Ok(match json_type {
        Some("string") => match set(schema, "enum") {
            Some(values) => {
                let values = values.as_array().ok_or("`enum` is no list")?;
                let values: Vec<String> = values.iter().map(str).collect();
                format!("\"{}\"", values.join("\" | \""))
            }
            None => format!("string{}", nullable(schema)),
        },
        Some("number" | "integer") => "number".into(),
        Some("boolean") => "boolean".into(),
        Some("object") => object(schema)?,
        _ => "any".into(),
    })
}

fn array(schema: &Value) -> Result<String, String> {
    /// Characters beyond which the type of the elements is not told.
    const LONGEST: usize = 50;
    let Some(items) = set(schema, "items") else {
        return Ok("any[]".into());
    };
    let simple = match items.get("type").and_then(Value::as_str) {
        Some("string") => Some("string[]"),
        Some("number" | "integer") => Some("number[]"),
        Some("boolean") => Some("boolean[]"),
        _ => None,
    };
    if let Some(simple) = simple {
        return Ok(simple.into());
    }
    let inner = type_of(items)?;
    match inner == "object | object" || inner.chars().count() > LONGEST {
        true => Ok("any[]".into()),
        false => Ok(inner + "[]"),
    }
}

fn union(variants: &Value) -> Result<String, String> {
    // What the template leaves between its blocks.
    const GAP: &str = "                    ";
    let variants = variants.as_array().ok_or("`oneOf` is no list")?;
    let mut texts = Vec::new();
    for variant in variants {
        let mut out = type_of(variant)?;
        if let Some(description) = set(variant, "description") {
            out.push_str(&format!("// {}", text("description", description)?));
        }
        if let Some(default) = variant.get("default") {
            out.push_str(&format!("{GAP}// default: {}", python_json(default)));
        }
        texts.push(out);
    }
    Ok(texts.join(" | \n"))
}

fn object(schema: &Value) -> Result<String, String> {
    const GAP: &str = "\n                ";
    let Some(properties) = properties(schema)? else {
        return Ok("object".into());
    };
    let mut texts = Vec::new();
    for (name, property) in properties {
        let optional = if is_required(schema, name) { "" } else { "?" };
        texts.push(format!("{name}{optional}: {GAP}{}", type_of(property)?));
    }
    Ok(format!("{{\n{}}}", texts.join(", ")))
}

fn nullable(schema: &Value) -> &'static str {
    match set(schema, "nullable") {
        Some(_) => " | null",
        None => "",
    }
}

fn properties(schema: &Value) -> Result<Option<&Map<String, Value>>, String> {
    let Some(properties) = set(schema, "properties") else {
        return Ok(None);
    };
    let properties = properties.as_object();
    properties
        .map(Some)
        .ok_or("`properties` is no object".into())
}

fn is_required(schema: &Value, name: &str) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    required.is_some_and(|required| required.iter().any(|key| key == name))
}

/// The value of a key, if it is one that a condition takes for true.
fn set<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    schema.get(key).filter(|value| is_true(value))
}

/// The template joins texts; anything else ends it.
fn text<'a>(key: &str, value: &'a Value) -> Result<&'a str, String> {
    let text = value.as_str();
    text.ok_or_else(|| format!("`{key}` is {value}, the chat template needs a text here"))
}
