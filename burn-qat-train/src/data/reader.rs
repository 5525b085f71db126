use std::path::{Path, PathBuf};

use burn_gpt_oss::HarmonyVariant;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadRows {
    /// It ends the reading.
    #[default]
    Refuse,
    /// It is left out and counted.
    Skip,
}

/// How rows are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    let notes = for_each_record(path.as_ref(), options, |record| {
        records.push(record);
        Ok(())
    })?;
    Ok(ChatDataset { records, notes })
}

/// As [`read_dataset`], one conversation at a time.
///
/// # Errors
/// Those of [`read_dataset`], and the first of `take`.
pub fn for_each_record(
    path: &Path,
    options: &ReadOptions,
    mut take: impl FnMut(ChatRecord) -> Result<(), QatError>,
) -> Result<DataNotes, QatError> {
    options.columns.check()?;
    let files = dataset_files(path)?;
    let mut notes = DataNotes::default();
    let mut first = None;
    let mut n_records = 0;
    for file in &files {
        let mut reader = FileReader::new(file, options);
        reader.read(|record| {
            n_records += 1;
            take(record)
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
        mut take: impl FnMut(ChatRecord) -> Result<(), QatError>,
    ) -> Result<(), QatError> {
        let path = self.path;
        let each = |row: Row| {
            let number = row.number;
            match self.record(row) {
                Ok(record) => take(record),
                Err(message) if self.options.bad_rows == BadRows::Skip => {
                    self.skipped.add(message, number);
                    Ok(())
                }
                Err(message) => Err(QatError::DatasetLine {
                    path: path.clone(),
                    line: number,
                    message,
                }),
            }
        };
        #[cfg(feature = "parquet")]
        if compression::is_parquet(path)? {
            return super::parquet::each_row(path, each);
        }
        rows::each_row(path, each)
    }

    fn record(&mut self, row: Row) -> Result<ChatRecord, String> {
        let mut value = row.value?;
        if let Some(row) = value.as_object_mut() {
            self.options.columns.apply(row)?;
        }
        // What a bad row would have noted goes with it.
        let mut notes = DataNotes::default();
        let record = ChatRecord::from_json(&value, Some(row.number), &mut notes)?;
        record.check_for(self.options.variant)?;
        self.notes.extend(notes);
        Ok(record)
    }
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
