use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::{ChatRecord, DataNotes, foreign, json};
use crate::error::QatError;

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
    let (mut bytes, mut line) = (Vec::new(), 0);
    let mut skipped = Skipped::default();
    loop {
        bytes.clear();
        let read = file.read_until(b'\n', &mut bytes);
        if read.map_err(QatError::io(path, "read"))? == 0 {
            break;
        }
        line += 1;
        match read_line(&bytes, line, &mut dataset.notes) {
            Ok(Some(record)) => dataset.records.push(record),
            Ok(None) => {}
            Err(message) if bad_rows == BadRows::Skip => skipped.add(message, line),
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
            message: match skipped.first {
                None => "no conversation; expected one JSON object with `messages` per line".into(),
                Some(reason) => {
                    format!("no conversation that can be used; the first row: {reason}")
                }
            },
        });
    }
    dataset.notes.extend(skipped.notes);
    Ok(dataset)
}

/// Rows that were left out, by reason.
#[derive(Default)]
struct Skipped {
    first: Option<String>,
    notes: DataNotes,
}

impl Skipped {
    fn add(&mut self, reason: String, line: usize) {
        /// Reasons that name a place in the row are all different.
        const REASONS: usize = 5;
        self.first.get_or_insert_with(|| reason.clone());
        let text = format!("row skipped: {reason}");
        let known = self.notes.iter().any(|note| note.text == text);
        match known || self.notes.iter().count() < REASONS {
            true => self.notes.add(text, Some(line)),
            false => self.notes.add("row skipped for other reasons", Some(line)),
        }
    }
}

fn read_line(
    bytes: &[u8],
    line: usize,
    notes: &mut DataNotes,
) -> Result<Option<ChatRecord>, String> {
    // Editors on Windows write a byte order mark at the beginning, and files are joined.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
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
    let row = json::parse(text).map_err(|error| not_json(text, &error))?;
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
