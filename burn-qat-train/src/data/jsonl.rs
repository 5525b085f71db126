use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::Value;

use super::{ChatRecord, DataNotes, foreign};
use crate::QatError;

/// What a file of conversations holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatDataset {
    /// The conversations, in the order of the file.
    pub records: Vec<ChatRecord>,
    /// Keys that are not used, rows that were skipped, contents that look wrong.
    pub notes: DataNotes,
}

/// What becomes of a row that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadRows {
    /// It ends the reading.
    #[default]
    Refuse,
    /// It is left out and counted.
    Skip,
}

/// Reads a JSONL file: one JSON object with `messages` per line, in UTF-8. Blank lines are skipped.
/// The keys are those of [`ChatRecord::from_json`].
///
/// # Errors
/// The first bad line by number, with what it is and how to mend it, unless bad rows are skipped: no
/// JSON, another shape, an unknown role, what would change the training and is not offered. A file that
/// is no JSONL at all, and one without a usable line.
pub fn read_jsonl(path: impl AsRef<Path>, bad_rows: BadRows) -> Result<ChatDataset, QatError> {
    let path = path.as_ref();
    let file = File::open(path).map_err(QatError::io(path, "open"))?;
    let mut file = BufReader::with_capacity(1 << 16, file);
    let start = file.fill_buf().map_err(QatError::io(path, "read"))?;
    if let Some(message) = foreign::describe_file(start) {
        return Err(QatError::Dataset {
            path: path.to_path_buf(),
            message,
        });
    }
    let mut dataset = ChatDataset::default();
    let (mut bytes, mut line, mut skipped) = (Vec::new(), 0, None);
    loop {
        bytes.clear();
        if file
            .read_until(b'\n', &mut bytes)
            .map_err(QatError::io(path, "read"))?
            == 0
        {
            break;
        }
        line += 1;
        match read_line(&bytes, line, &mut dataset.notes) {
            Ok(Some(record)) => dataset.records.push(record),
            Ok(None) => {}
            Err(message) if bad_rows == BadRows::Skip => {
                let text = skipped.get_or_insert_with(|| {
                    format!("rows skipped that cannot be used, the first because {message}")
                });
                dataset.notes.add(text.as_str(), Some(line));
            }
            Err(message) => {
                return Err(QatError::DatasetLine {
                    path: path.to_path_buf(),
                    line,
                    message,
                });
            }
        }
    }
    if dataset.records.is_empty() {
        return Err(QatError::Dataset {
            path: path.to_path_buf(),
            message: "no conversation that can be used; expected one JSON object with `messages` per line"
                .into(),
        });
    }
    Ok(dataset)
}

fn read_line(
    bytes: &[u8],
    line: usize,
    notes: &mut DataNotes,
) -> Result<Option<ChatRecord>, String> {
    // Editors on Windows write a byte order mark at the beginning.
    let bytes = match line {
        1 => bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes),
        _ => bytes,
    };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        format!(
            "byte {} of the line is 0x{:02x}, which is no UTF-8; the file may be Latin-1 or Windows-1252, \
             convert: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW",
            at + 1,
            bytes[at]
        )
    })?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let row: Value = serde_json::from_str(text).map_err(|error| not_json(text, &error))?;
    let mut row_notes = DataNotes::default();
    let mut record = ChatRecord::from_json(&row, Some(line), &mut row_notes)?;
    record.line = Some(line);
    notes.extend(row_notes);
    Ok(Some(record))
}

fn not_json(text: &str, error: &serde_json::Error) -> String {
    let convert = match text.trim_start().as_bytes().first() {
        _ if !error.is_eof() => return format!("not JSON: {error}"),
        Some(b'[') => {
            "this is the beginning of a JSON array over several lines; convert: jq -c '.[]'"
        }
        Some(b'{') => "this is the beginning of an object over several lines; convert: jq -c .",
        _ => return format!("not JSON: {error}"),
    };
    format!("one object per line is needed, {convert} FILE > NEW")
}
