use burn::data::dataset::{Dataset, DatasetError};

use super::packing::joined;
use super::{TokenFile, TokenizedExample};
use crate::fnv::Fnv;
use crate::train::ExampleData;

/// Rows of one or several examples of a [`TokenFile`].
#[derive(Clone, Debug)]
pub struct TokenSubset {
    file: TokenFile,
    rows: Vec<Vec<usize>>,
}

impl TokenSubset {
    /// One row for each list of examples, by their numbers.
    ///
    /// # Panics
    /// If there is no such number, or a row has none.
    pub fn new(file: TokenFile, rows: Vec<Vec<usize>>) -> Self {
        assert!(
            rows.iter().all(|row| !row.is_empty()),
            "a row without examples"
        );
        assert!(rows.iter().flatten().all(|index| *index < file.len()));
        Self { file, rows }
    }

    /// What a stage of training takes. All examples of a file have targets, and its fingerprint with the numbers of
    /// the rows tells them apart from others.
    pub fn into_examples(self) -> ExampleData<TokenizedExample> {
        let mut hash = Fnv::default();
        hash.add(self.file.fingerprint().as_bytes());
        for row in &self.rows {
            hash.add(&(row.len() as u64).to_le_bytes());
            row.iter()
                .for_each(|index| hash.add(&(*index as u64).to_le_bytes()));
        }
        ExampleData::new(self).with_fingerprint(hash.text())
    }
}

impl Dataset<TokenizedExample> for TokenSubset {
    fn get(&self, index: usize) -> Result<TokenizedExample, DatasetError> {
        let fetched = self.rows[index]
            .iter()
            .map(|index| self.file.example(*index));
        let fetched: Result<Vec<TokenizedExample>, _> = fetched.collect();
        let mut fetched = fetched.map_err(DatasetError::new)?;
        match fetched.len() {
            1 => Ok(fetched.remove(0)),
            _ => Ok(joined(fetched.iter())),
        }
    }

    fn len(&self) -> usize {
        self.rows.len()
    }
}
