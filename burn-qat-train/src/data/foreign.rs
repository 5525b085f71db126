//! Rows in the shapes of other programs: what they are, and how they become conversations.

use serde_json::{Map, Value};

/// Why a row without `messages` cannot be read.
pub(super) fn describe(row: &Map<String, Value>) -> String {
    let has = |key: &str| row.contains_key(key);
    if has("conversations") {
        return "this is the ShareGPT shape (`conversations` with `from` and `value`), `messages` is \
             needed; convert: jq -c '{messages: [.conversations[] | {role: ({human: \"user\", gpt: \
             \"assistant\"}[.from] // .from), content: .value}]}' FILE > NEW"
            .into();
    }
    if has("chosen") && has("rejected") {
        return "this is a preference pair (`chosen`, `rejected`), `messages` is needed; to train on \
             the chosen answers: jq -c '{messages: .chosen}' FILE > NEW"
            .into();
    }
    if has("prompt") && has("completion") {
        let convert = match row["prompt"].is_array() {
            true => "{messages: (.prompt + .completion)}",
            false => {
                "{messages: [{role: \"user\", content: .prompt}, {role: \"assistant\", content: \
                 .completion}]}"
            }
        };
        return format!(
            "this is the prompt/completion shape, `messages` is needed; convert: jq -c '{convert}' \
             FILE > NEW"
        );
    }
    if has("instruction") && has("output") {
        return "this is the Alpaca shape (`instruction`, `input`, `output`), `messages` is needed; \
             convert: jq -c '{messages: [{role: \"user\", content: ([.instruction, .input] | \
             map(select(. != null and . != \"\")) | join(\"\\n\\n\"))}, {role: \"assistant\", \
             content: .output}]}' FILE > NEW"
            .into();
    }
    let keys: Vec<String> = row.keys().take(8).map(|key| format!("`{key}`")).collect();
    match keys.is_empty() {
        true => "`messages` is missing, the object is empty".into(),
        false => format!("`messages` is missing, there are only {}", keys.join(", ")),
    }
}

/// Why a content that is not a text cannot be read.
pub(super) fn describe_content(content: &Value) -> String {
    match content {
        Value::Array(_) => "`content` is a list of parts, a text is needed; for parts of text convert: jq \
             -c '.messages[].content |= (if type == \"array\" then map(.text) | join(\"\") else . end)' \
             FILE > NEW"
            .into(),
        Value::Null => "`content` is null, a text is needed".into(),
        other => format!("`content` is {}, a text is needed", kind_of(other)),
    }
}

/// The type of a JSON value in words.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What a file is that is no JSON in UTF-8, from its first bytes.
pub(super) fn describe_file(start: &[u8]) -> Option<String> {
    const MAGIC: [(&[u8], &str, &str); 10] = [
        (b"\x1f\x8b", "gzip", "gunzip it first"),
        (
            b"\x28\xb5\x2f\xfd",
            "Zstandard",
            "decompress it first (zstd -d)",
        ),
        (b"BZh", "bzip2", "decompress it first (bunzip2)"),
        (b"\xfd7zXZ", "xz", "decompress it first (unxz)"),
        (b"PK\x03\x04", "a ZIP archive", "unpack it first"),
        (b"PAR1", "Parquet", "docs/data.md says how it becomes JSONL"),
        (
            b"\xff\xfe\0\0",
            "UTF-32",
            "convert: iconv -f UTF-32 -t UTF-8 FILE > NEW",
        ),
        (
            b"\0\0\xfe\xff",
            "UTF-32",
            "convert: iconv -f UTF-32 -t UTF-8 FILE > NEW",
        ),
        (
            b"\xff\xfe",
            "UTF-16",
            "convert: iconv -f UTF-16 -t UTF-8 FILE > NEW",
        ),
        (
            b"\xfe\xff",
            "UTF-16",
            "convert: iconv -f UTF-16 -t UTF-8 FILE > NEW",
        ),
    ];
    let known = MAGIC.iter().find(|(magic, ..)| start.starts_with(magic));
    if let Some((_, name, hint)) = known {
        return Some(format!(
            "the file is {name} from its first line on, JSON in UTF-8 is needed; {hint}"
        ));
    }
    // JSON begins with two ASCII characters, so every other byte is zero.
    let order = match start {
        [0, second, ..] if *second != 0 => "UTF-16BE",
        [first, 0, ..] if *first != 0 => "UTF-16LE",
        _ => return None,
    };
    Some(format!(
        "the file looks like UTF-16 from its first line on, JSON in UTF-8 is needed; convert: iconv -f \
         {order} -t UTF-8 FILE > NEW"
    ))
}
