//! Functions as openai-harmony 0.0.8 describes them: JSON schemas become TypeScript types.

use serde_json::Value;

use super::json_text::compact_json;
use crate::chat::tool::FunctionTool;

pub(super) fn section(tools: &[FunctionTool]) -> String {
    let mut lines = vec![
        "## functions\n".to_owned(),
        "namespace functions {\n".to_owned(),
    ];
    for tool in tools {
        lines.extend(tool.description.lines().map(|line| format!("// {line}")));
        let parameters = tool.parameters.as_ref();
        let parameters = parameters.map(|schema| format!("_: {}", type_of(schema, "")));
        let parameters = parameters.unwrap_or_default();
        lines.push(format!("type {} = ({parameters}) => any;\n", tool.name));
    }
    lines.push("} // namespace functions".to_owned());
    format!("# Tools\n\n{}", lines.join("\n"))
}

fn type_of(schema: &Value, indent: &str) -> String {
    if let Some(variants) = list(schema, "oneOf") {
        return union(variants, indent);
    }
    let types = list(schema, "type").unwrap_or_default();
    let names: Vec<&str> = types.iter().filter_map(Value::as_str).map(name).collect();
    if !names.is_empty() {
        return names.join(" | ");
    }
    match text(schema, "type") {
        Some("object") => object(schema, indent),
        Some("string") => {
            let values = list(schema, "enum").unwrap_or_default().iter();
            let values = values.filter_map(Value::as_str);
            let values: Vec<String> = values.map(|value| format!("\"{value}\"")).collect();
            match values.is_empty() {
                true => "string".to_owned(),
                false => values.join(" | "),
            }
        }
        Some("array") => match schema.get("items") {
            Some(items) => type_of(items, indent) + "[]",
            None => "Array<any>".to_owned(),
        },
        Some(simple @ ("number" | "integer" | "boolean")) => name(simple).to_owned(),
        _ => "any".to_owned(),
    }
}

fn name(json_type: &str) -> &str {
    match json_type {
        "integer" => "number",
        other => other,
    }
}

fn object(schema: &Value, indent: &str) -> String {
    let mut out = comment(text(schema, "description"), indent);
    out.push_str("{\n");
    let required: Vec<&str> = list(schema, "required")
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, property) in properties.into_iter().flatten() {
        let optional = if required.contains(&key.as_str()) {
            ""
        } else {
            "?"
        };
        out.push_str(&property_text(
            &format!("{key}{optional}"),
            property,
            indent,
        ));
    }
    out + indent + "}"
}

/// A property with the comments above it.
fn property_text(key: &str, schema: &Value, indent: &str) -> String {
    let mut out = String::new();
    if let Some(title) = text(schema, "title") {
        out.push_str(&format!("{indent}// {title}\n{indent}//\n"));
    }
    if schema.get("oneOf").is_none() {
        out.push_str(&comment(text(schema, "description"), indent));
    }
    let examples = list(schema, "examples").unwrap_or_default();
    if !examples.is_empty() {
        out.push_str(&format!("{indent}// Examples:\n"));
        for example in examples.iter().filter_map(Value::as_str) {
            out.push_str(&format!("{indent}// - \"{example}\"\n"));
        }
    }
    if let Some(variants) = list(schema, "oneOf") {
        return out + &property_union(key, schema, variants, indent);
    }
    let inner = nullable(schema, type_of(schema, &format!("{indent}    ")));
    out.push_str(&format!("{indent}{key}: {inner},"));
    let default = default_text(schema).filter(|_| schema.get("oneOf").is_none());
    if let Some(default) = default {
        out.push_str(&format!(" // {default}"));
    }
    out + "\n"
}

/// A property of one of several types, each on a line of its own.
fn property_union(key: &str, schema: &Value, variants: &[Value], indent: &str) -> String {
    let description = text(schema, "description");
    let first = variants
        .first()
        .and_then(|first| text(first, "description"));
    // A description that the first type repeats is told nowhere.
    let above = description.filter(|_| description != first);
    let mut out = comment(above, indent);
    out.push_str(&comment(default_text(schema).as_deref(), indent));
    out.push_str(&format!("{indent}{key}:\n"));
    for (i, variant) in variants.iter().enumerate() {
        let own = text(variant, "description").filter(|own| Some(*own) != description);
        let own = own.filter(|_| i > 0 || above.is_none());
        let behind = [own.map(str::to_owned), default_text(variant)];
        out.push_str(&variant_text(variant, behind, indent));
        out.push('\n');
    }
    out + indent + ",\n"
}

/// One of several types that are no property: an element of an array, or the parameters themselves.
fn union(variants: &[Value], indent: &str) -> String {
    let mut out = String::new();
    for variant in variants {
        // Here a default within an enum keeps its quotes.
        let default = match variant.get("default") {
            Some(Value::String(text)) if !is_enum(variant) => Some(format!("default: \"{text}\"")),
            default => default.map(|value| format!("default: {}", compact_json(value))),
        };
        let behind = [text(variant, "description").map(str::to_owned), default];
        out.push('\n');
        out.push_str(&variant_text(variant, behind, indent));
    }
    out
}

fn variant_text(variant: &Value, behind: [Option<String>; 2], indent: &str) -> String {
    let inner = nullable(variant, type_of(variant, &format!("{indent}   ")));
    let behind: Vec<String> = behind.into_iter().flatten().collect();
    match behind.is_empty() {
        true => format!("{indent} | {inner}"),
        false => format!("{indent} | {inner} // {}", behind.join(" ")),
    }
}

fn nullable(schema: &Value, inner: String) -> String {
    let nullable = schema.get("nullable").and_then(Value::as_bool);
    match nullable == Some(true) && !inner.contains("null") {
        true => inner + " | null",
        false => inner,
    }
}

fn default_text(schema: &Value) -> Option<String> {
    Some(match schema.get("default")? {
        Value::String(text) if is_enum(schema) => format!("default: {text}"),
        Value::String(text) => format!("default: \"{text}\""),
        value => format!("default: {}", compact_json(value)),
    })
}

fn is_enum(schema: &Value) -> bool {
    list(schema, "enum").is_some_and(|values| !values.is_empty())
}

fn comment(text: Option<&str>, indent: &str) -> String {
    text.map(|text| format!("{indent}// {text}\n"))
        .unwrap_or_default()
}

fn text<'a>(schema: &'a Value, key: &str) -> Option<&'a str> {
    schema.get(key).and_then(Value::as_str)
}

fn list<'a>(schema: &'a Value, key: &str) -> Option<&'a [Value]> {
    schema.get(key).and_then(Value::as_array).map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Right-hand sides: openai-harmony 0.0.8.
    #[test]
    fn types_that_the_golden_data_lacks_equal_the_library() {
        for (schema, text) in [
            (
                json!({"type": "array", "items": {"oneOf": [{"type": "string", "enum": ["a"], "default": "a"},
                {"type": "null", "nullable": true}]}}),
                "\n | \"a\" // default: \"a\"\n | any | null[]",
            ),
            (json!({"type": []}), "any"),
            (json!({"oneOf": 1, "type": "integer"}), "number"),
            (
                json!({"type": "object", "properties": {"a": {"oneOf": 1, "type": "string", "default": "x",
                "description": "d"}}}),
                "{\na?: string,\n}",
            ),
        ] {
            assert_eq!(type_of(&schema, ""), text);
        }
    }
}
