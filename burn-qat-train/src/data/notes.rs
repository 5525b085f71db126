use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Something that a user should know about some rows of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataNote {
    /// What it is.
    pub text: String,
    /// How often it was met.
    pub count: usize,
    /// The first lines of the file, from 1, where it was met; rows without a line have none.
    pub lines: Vec<usize>,
}

/// What was met while a dataset was read or tokenized, each kind once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DataNotes {
    notes: Vec<DataNote>,
}

/// Lines that a note names.
const LINES: usize = 3;

impl DataNotes {
    /// Counts something, at a line of the file if there is one.
    pub fn add(&mut self, text: impl Into<String>, line: Option<usize>) {
        let note = DataNote {
            text: text.into(),
            count: 1,
            lines: line.into_iter().collect(),
        };
        self.merge(note);
    }

    /// Counts what another part of the data had.
    pub fn extend(&mut self, other: Self) {
        for note in other.notes {
            self.merge(note);
        }
    }

    /// The same notes with the file that they are about.
    pub fn in_file(mut self, file: &Path) -> Self {
        let name = file.file_name().unwrap_or(file.as_os_str());
        for note in &mut self.notes {
            note.text = format!("{}, in {}", note.text, name.to_string_lossy());
        }
        self
    }

    /// The notes, in the order in which they were first met.
    pub fn iter(&self) -> impl Iterator<Item = &DataNote> {
        self.notes.iter()
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    fn merge(&mut self, note: DataNote) {
        match self.notes.iter_mut().find(|known| known.text == note.text) {
            Some(known) => {
                known.count += note.count;
                known.lines.extend(note.lines);
                known.lines.sort_unstable();
                known.lines.dedup();
                known.lines.truncate(LINES);
            }
            None => self.notes.push(note),
        }
    }
}

impl fmt::Display for DataNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => write!(f, "{}: once", self.text)?,
            count => write!(f, "{}: {count} times", self.text)?,
        }
        let lines: Vec<String> = self.lines.iter().map(ToString::to_string).collect();
        let more = if self.count > lines.len() {
            ", ..."
        } else {
            ""
        };
        match lines.as_slice() {
            [] => Ok(()),
            [line] if more.is_empty() => write!(f, " (line {line})"),
            lines => write!(f, " (lines {}{more})", lines.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_once_with_its_count_and_first_lines() {
        let mut notes = DataNotes::default();
        for line in [5, 2, 9, 7] {
            notes.add("`id` is not used", Some(line));
        }
        notes.add("empty answer", None);
        let told: Vec<String> = notes.iter().map(ToString::to_string).collect();
        let expected = [
            "`id` is not used: 4 times (lines 2, 5, 7, ...)",
            "empty answer: once",
        ];
        assert_eq!(told, expected);
    }
}
