//! The rows of a file of text: one JSON object per line, or an array of them.

use std::io::BufRead;
use std::path::Path;

use serde_json::Value;

use super::{compression, json};
use crate::error::QatError;

/// A row as it was found.
pub(super) struct Row {
    /// Line of the file, or number within the array, from 1.
    pub(super) number: usize,
    pub(super) content: RowContent,
}

pub(super) enum RowContent {
    /// A line, which is parsed by whoever has the time.
    Line(Vec<u8>),
    Value(Value),
}

impl Row {
    /// The row, or why it is none.
    pub(super) fn parse(self) -> Result<Value, String> {
        match self.content {
            RowContent::Line(bytes) => line(&bytes),
            RowContent::Value(value) => Ok(value),
        }
    }
}

/// Gives every row of a file to `take`, in order; blank lines are none.
///
/// # Errors
/// Those of the file, and the first of `take`.
pub(super) fn each_row(
    path: &Path,
    mut take: impl FnMut(Row) -> Result<(), QatError>,
) -> Result<(), QatError> {
    let mut text = compression::open_text(path)?;
    let start = text.fill_buf().map_err(QatError::io(path, "read"))?;
    let start = start.strip_prefix(BOM).unwrap_or(start);
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        Some(b'[') => each_element(path, text, take),
        _ => each_line(path, text, &mut take),
    }
}

/// Editors on Windows write a byte order mark at the beginning, and files are joined.
const BOM: &[u8] = b"\xef\xbb\xbf";

fn each_line(
    path: &Path,
    mut text: Box<dyn BufRead>,
    take: &mut dyn FnMut(Row) -> Result<(), QatError>,
) -> Result<(), QatError> {
    let mut number = 0;
    loop {
        let mut bytes = Vec::new();
        let read = text.read_until(b'\n', &mut bytes);
        if read.map_err(QatError::io(path, "read"))? == 0 {
            return Ok(());
        }
        number += 1;
        let text = bytes.strip_prefix(BOM).unwrap_or(&bytes);
        if text.trim_ascii().is_empty() {
            continue;
        }
        let content = RowContent::Line(bytes);
        take(Row { number, content })?;
    }
}

fn line(bytes: &[u8]) -> Result<Value, String> {
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        format!(
            "byte {} of the line is 0x{:02x}, which is no UTF-8; the file may be Latin-1 or Windows-1252, \
             convert: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW",
            at + 1,
            bytes[at]
        )
    })?;
    json::parse(text).map_err(|error| match error.is_eof() && text.trim_start().starts_with('{') {
        true => "one object per line is needed, this is the beginning of an object over several lines; \
             convert: jq -c . FILE > NEW"
            .into(),
        false => format!("not JSON: {error}"),
    })
}

fn each_element(
    path: &Path,
    mut text: Box<dyn BufRead>,
    mut take: impl FnMut(Row) -> Result<(), QatError>,
) -> Result<(), QatError> {
    let start = text.fill_buf().map_err(QatError::io(path, "read"))?;
    if start.starts_with(BOM) {
        text.consume(BOM.len());
    }
    let (mut stopped, mut number) = (None, 0);
    let read = json::each_element(text, |value| {
        number += 1;
        let row = Row {
            number,
            content: RowContent::Value(value),
        };
        take(row).map_err(|error| stopped = Some(error)).is_ok()
    });
    match (stopped, read) {
        (Some(error), _) => Err(error),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => Err(QatError::Dataset {
            path: path.to_owned(),
            message: format!("the array of rows is broken behind row {number}: {error}"),
        }),
    }
}
