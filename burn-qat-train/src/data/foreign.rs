//! What a row or a file is that cannot be read, and what to do with it.

use serde_json::{Map, Value};

/// Why a row of no known shape cannot be read.
pub(super) fn describe(row: &Map<String, Value>) -> String {
    let has = |key: &str| row.contains_key(key);
    if has("chosen") && has("rejected") {
        return "this is a preference pair (`chosen`, `rejected`), one conversation is needed; to train on \
             the chosen answers: jq -c '{messages: .chosen}' FILE > NEW"
            .into();
    }
    if has("role") && has("content") {
        return "this is a message, a conversation is needed: `messages` with a list of them"
            .into();
    }
    if row.is_empty() {
        return "`messages` is missing, the object is empty".into();
    }
    format!(
        "no columns that are known: `messages`, `conversations`, `prompt` and `completion`, `instruction` \
         and `output`, `user` and `final`, or `text`; there are only {}. `dataset.columns` renames them",
        listed(row.keys())
    )
}

/// The first names of many.
pub(super) fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<String> = names.take(8).map(|name| format!("`{name}`")).collect();
    names.join(", ")
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
    const MAGIC: [(&[u8], &str, &str); 8] = [
        (b"BZh", "bzip2", "decompress it first (bunzip2)"),
        (b"\xfd7zXZ", "xz", "decompress it first (unxz)"),
        (b"PK\x03\x04", "a ZIP archive", "unpack it first"),
        (
            b"PAR1",
            "Parquet",
            "build with the feature `parquet`, or convert it as docs/data.md says",
        ),
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
