//! Conversations of files: read, tokenized, split.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use burn_gpt_oss::Tokenizer;
use burn_qat_train::{
    ChatFormat, ChatRecord, DataNotes, DataSource, QatError, Recipe, Split, TokenCache, TokenFile,
    TokenSubset, TokenizedExample, dataset_files, pack_rows,
};

use crate::console::Bar;
use crate::input::{Data, tell, tell_packing};

/// Datasets from this size on are kept as tokens.
const LARGE: u64 = 16 << 20;

/// The files, split at random or by file. What cannot be used is told before anything is refused for want
/// of it.
pub fn data(
    path: &Path,
    (recipe, n_calibration): (&Recipe, usize),
    format: &ChatFormat,
    tokenizer: &Tokenizer,
) -> Result<Data> {
    let files = Files {
        data: tokens(path, recipe, format, tokenizer)?,
        valid: match &recipe.eval_data {
            Some(path) => Some(tokens(path, recipe, format, tokenizer)?),
            None => None,
        },
    };
    let mut split = files.split(recipe);
    drop_copies(&files, &mut split, path)?;
    let calibration = for_calibration(&mut split.train, n_calibration)?;
    let rows: Vec<Vec<usize>> = match recipe.dataset.packing {
        true => packed(&split.train, &files, format.max_length),
        false => split.train.iter().map(|index| vec![*index]).collect(),
    };
    let lengths = rows
        .iter()
        .map(|row| row.iter().map(|i| files.data.n_tokens(*i)).sum());
    let lines = rows
        .iter()
        .map(|row| row.iter().filter_map(|i| files.data.line(*i)).collect());
    let (lengths, lines) = (lengths.collect(), lines.collect());
    let records = records_to_answer(&files, &split.valid, recipe.evaluation.prompts)?;
    Ok(Data {
        train_lengths: lengths,
        lines,
        valid: split
            .valid
            .iter()
            .map(|i| files.example(*i))
            .collect::<Result<_>>()?,
        calibration: calibration
            .iter()
            .map(|i| files.example(*i))
            .collect::<Result<_>>()?,
        valid_records: records,
        largest_token: files.largest_token(),
        train: TokenSubset::new(files.data, rows).into_examples(),
        generated: None,
    })
}

/// Datasets as tokens; the numbers of validation data of its own follow those of the data.
struct Files {
    data: TokenFile,
    valid: Option<TokenFile>,
}

impl Files {
    fn of(&self, index: usize) -> (&TokenFile, usize) {
        match (&self.valid, index.checked_sub(self.data.len())) {
            (Some(valid), Some(index)) => (valid, index),
            _ => (&self.data, index),
        }
    }

    fn example(&self, index: usize) -> Result<TokenizedExample> {
        let (file, index) = self.of(index);
        Ok(file.example(index)?)
    }

    fn record(&self, index: usize) -> Result<ChatRecord> {
        let (file, index) = self.of(index);
        Ok(file.record(index)?)
    }

    fn largest_token(&self) -> u32 {
        let valid = self.valid.as_ref().map_or(0, TokenFile::largest_token);
        valid.max(self.data.largest_token())
    }

    fn split(&self, recipe: &Recipe) -> Split {
        let n = self.data.len();
        match &self.valid {
            None => Split::random(n, recipe.dataset.eval_fraction, recipe.seed),
            Some(valid) => {
                // Calibration takes the last ones, which are no others than the rest.
                let all = Split::random(n, 0.0, recipe.seed);
                Split {
                    train: all.train,
                    valid: (n..n + valid.len()).collect(),
                }
            }
        }
    }
}

/// The held-out conversations that prompts are made of: those that ask something, and some more than are answered,
/// since not all leave room for an answer.
fn records_to_answer(files: &Files, valid: &[usize], n_prompts: usize) -> Result<Vec<ChatRecord>> {
    let enough = 4 * n_prompts.max(64);
    let mut records = Vec::new();
    for index in valid {
        let record = files.record(*index)?;
        records.extend(Some(record).filter(|record| record.text.is_none()));
        if records.len() == enough {
            break;
        }
    }
    Ok(records)
}

/// Reads and tokenizes a dataset, or finds its tokens where they were kept.
fn tokens(
    path: &Path,
    recipe: &Recipe,
    format: &ChatFormat,
    tokenizer: &Tokenizer,
) -> Result<TokenFile> {
    let files = dataset_files(path)?;
    let bytes: u64 = files
        .iter()
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum();
    let cache = match &recipe.dataset.cache {
        Some(dir) => TokenCache::new(dir),
        None if bytes < LARGE => TokenCache::temporary(),
        None => TokenCache::of_user().unwrap_or(TokenCache::temporary()),
    };
    let reading = recipe.dataset.reading();
    let source = DataSource {
        path,
        reading: &reading,
        format,
        tokenizer,
    };
    let bar = Bar::new("reading data");
    let tokens = cache.tokens(source, |done| bar.rows(done, done));
    bar.finish();
    let tokens = tokens.map_err(|error| match error {
        QatError::DatasetLine { .. } => {
            anyhow!("{error} (--skip-bad-rows leaves such rows out and counts them)")
        }
        other => other.into(),
    })?;
    tell(tokens.notes());
    Ok(tokens)
}

/// Leaves out of the training data what is held out, too; refuses data of which nothing is left.
fn drop_copies(files: &Files, split: &mut Split, path: &Path) -> Result<()> {
    let both = split.remove_overlap(|index| {
        let (file, index) = files.of(index);
        (file.content_hash(index), file.n_tokens(index))
    });
    let mut notes = DataNotes::default();
    for index in &both {
        let text = "conversations that are held out, too, token for token: not trained";
        notes.add(text, files.data.line(*index));
    }
    tell(&notes);
    if split.train.is_empty() && !both.is_empty() {
        bail!(
            "{}: the conversations to train on are copies of those that are held out; use other data",
            path.display()
        );
    }
    let missing = match (split.valid.is_empty(), split.train.is_empty()) {
        (true, _) => "validation",
        (_, true) => "training",
        _ => return Ok(()),
    };
    bail!(
        "{}: {} usable conversations leave nothing for {missing}; use more data or another --eval-fraction",
        path.display(),
        files.data.len()
    )
}

/// Takes the last training conversations for calibration.
fn for_calibration<T>(train: &mut Vec<T>, rows: usize) -> Result<Vec<T>> {
    let left = train.len().checked_sub(rows).filter(|left| *left > 0);
    let Some(left) = left else {
        bail!(
            "{} conversations to train on leave nothing for training beside \
             `dataset.calibration_rows` = {rows}; use more data or fewer rows",
            train.len()
        );
    };
    Ok(train.split_off(left))
}

/// Puts training conversations into rows, and tells how full they are.
fn packed(train: &[usize], files: &Files, max_length: usize) -> Vec<Vec<usize>> {
    let lengths: Vec<usize> = train.iter().map(|i| files.data.n_tokens(*i)).collect();
    let rows = pack_rows(&lengths, max_length);
    tell_packing(&lengths, rows.len(), max_length);
    let of_file = |row: Vec<usize>| row.into_iter().map(|at| train[at]).collect();
    rows.into_iter().map(of_file).collect()
}
