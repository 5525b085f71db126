//! Files of JSON: read, checked for what they often are instead, parsed.

use std::path::Path;

use crate::error::GptOssError;

/// How a file begins that Git LFS left in place of the real one.
pub(crate) const LFS_POINTER: &str = "version https://git-lfs";

/// Reads a file of JSON, which is in UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, GptOssError> {
    let bytes = std::fs::read(path).map_err(GptOssError::io(path, "read"))?;
    let encoding = match bytes.as_slice() {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16",
        _ => "not UTF-8",
    };
    String::from_utf8(bytes).map_err(|_| GptOssError::Json {
        path: path.to_path_buf(),
        key: ".".into(),
        message: format!("the file is {encoding}, JSON in UTF-8 is needed"),
    })
}

/// Reads one JSON document, and nothing after it.
pub(crate) fn parse<'a, T: serde::Deserialize<'a>>(
    text: &'a str,
    path: &Path,
) -> Result<T, GptOssError> {
    let json_error = |key: String, error: &serde_json::Error| GptOssError::Json {
        path: path.to_path_buf(),
        // Where the syntax breaks there is no key yet.
        key: if key == "?" { ".".into() } else { key },
        message: error.to_string(),
    };
    if text.starts_with(LFS_POINTER) {
        return Err(GptOssError::LfsPointer { path: path.into() });
    }
    // Editors on Windows write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| json_error(error.path().to_string(), error.inner()))?;
    deserializer
        .end()
        .map_err(|error| json_error(".".into(), &error))?;
    Ok(parsed)
}
