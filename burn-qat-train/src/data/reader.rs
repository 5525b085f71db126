use std::path::{Path, PathBuf};

use burn_gpt_oss::HarmonyVariant;
use rayon::prelude::*;
use serde::Serialize;

#[cfg(feature = "parquet")]
use super::compression;
use super::rows::{self, Row};
use super::{ChatRecord, ColumnMap, DataNotes, dataset_files};
use crate::error::QatError;

/// What files of conversations hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatDataset {
    /// The conversations, in the order of the files.
    pub records: Vec<ChatRecord>,
    /// Keys that are not used, rows that were skipped, contents that look wrong.
    pub notes: DataNotes,
}

/// What becomes of a row that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum BadRows {
    /// It ends the reading.
    #[default]
    Refuse,
    /// It is left out and counted.
    Skip,
}

/// How rows are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReadOptions {
    /// What becomes of rows that cannot be used.
    pub bad_rows: BadRows,
    /// Names that columns have in the files.
    pub columns: ColumnMap,
    /// What conversations will be rendered by: rows that it cannot express are bad ones.
    pub variant: HarmonyVariant,
}

/// Reads all conversations of a file, a directory, or the files that a pattern matches: JSON objects, one
/// per line or in an array, compressed by gzip or Zstandard or not, or Parquet (feature `parquet`). What a
/// file is is seen from its content. The shapes of rows are those of [`ChatRecord::from_json`].
///
/// # Errors
/// The first row that cannot be used by its file and number, with what it is and how to mend it, unless
/// bad rows are skipped. A file that is no dataset at all, and no usable row.
pub fn read_dataset(
    path: impl AsRef<Path>,
    options: &ReadOptions,
) -> Result<ChatDataset, QatError> {
    let mut records = Vec::new();
    let notes = read_chunks(path.as_ref(), options, |chunk| {
        records.extend(chunk);
        Ok(())
    })?;
    Ok(ChatDataset { records, notes })
}

/// As [`read_dataset`], some thousand conversations at a time, in order: what does not fit into memory is read so.
///
/// # Errors
/// Those of [`read_dataset`], and the first of `take`.
pub fn read_chunks(
    path: impl AsRef<Path>,
    options: &ReadOptions,
    mut take: impl FnMut(Vec<ChatRecord>) -> Result<(), QatError>,
) -> Result<DataNotes, QatError> {
    options.columns.check()?;
    let path = path.as_ref();
    let files = dataset_files(path)?;
    let mut notes = DataNotes::default();
    let mut first = None;
    let mut n_records = 0;
    for file in &files {
        let mut reader = FileReader::new(file, options);
        reader.read(|chunk| {
            n_records += chunk.len();
            take(chunk)
        })?;
        first = first.or(reader.skipped.first.take());
        let mut of_file = reader.notes;
        of_file.extend(reader.skipped.notes);
        notes.extend(match files.len() {
            1 => of_file,
            _ => of_file.in_file(file),
        });
    }
    if n_records > 0 {
        return Ok(notes);
    }
    Err(QatError::Dataset {
        path: path.to_owned(),
        message: match first {
            None => "no conversation; expected JSON objects with `messages`, one per line".into(),
            Some(reason) => {
                format!("no conversation that can be used; the first row: {reason}")
            }
        },
    })
}

/// Rows that are read side by side.
const CHUNK: usize = 4096;

struct FileReader<'a> {
    path: &'a PathBuf,
    options: &'a ReadOptions,
    notes: DataNotes,
    skipped: Skipped,
}

impl<'a> FileReader<'a> {
    fn new(path: &'a PathBuf, options: &'a ReadOptions) -> Self {
        Self {
            path,
            options,
            notes: DataNotes::default(),
            skipped: Skipped::default(),
        }
    }

    fn read(
        &mut self,
        mut take: impl FnMut(Vec<ChatRecord>) -> Result<(), QatError>,
    ) -> Result<(), QatError> {
        let path = self.path;
        let mut rows = Vec::new();
        let each = |row: Row| {
            rows.push(row);
            match rows.len() {
                CHUNK => take(self.records(std::mem::take(&mut rows))?),
                _ => Ok(()),
            }
        };
        #[cfg(feature = "parquet")]
        let read = match compression::is_parquet(path)? {
            true => super::parquet::each_row(path, each),
            false => rows::each_row(path, each),
        };
        #[cfg(not(feature = "parquet"))]
        let read = rows::each_row(path, each);
        read?;
        take(self.records(rows)?)
    }

    /// The conversations of some rows, without bad ones if they are skipped.
    fn records(&mut self, rows: Vec<Row>) -> Result<Vec<ChatRecord>, QatError> {
        let options = self.options;
        let read: Vec<(usize, Result<_, String>)> = rows
            .into_par_iter()
            .map(|row| (row.number, record(row, options)))
            .collect();
        let mut records = Vec::with_capacity(read.len());
        for (number, read) in read {
            match read {
                Ok((record, notes)) => {
                    self.notes.extend(notes);
                    records.push(record);
                }
                Err(message) if options.bad_rows == BadRows::Skip => {
                    self.skipped.add(message, number);
                }
                Err(message) => {
                    return Err(QatError::DatasetLine {
                        path: self.path.clone(),
                        line: number,
                        message,
                    });
                }
            }
        }
        Ok(records)
    }
}

/// The conversation of a row, and what is to be told of it.
fn record(row: Row, options: &ReadOptions) -> Result<(ChatRecord, DataNotes), String> {
    let number = row.number;
    let mut value = row.parse()?;
    if let Some(row) = value.as_object_mut() {
        options.columns.apply(row)?;
    }
    let mut notes = DataNotes::default();
    let record = ChatRecord::from_json(&value, Some(number), &mut notes)?;
    record.check_for(options.variant)?;
    Ok((record, notes))
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
