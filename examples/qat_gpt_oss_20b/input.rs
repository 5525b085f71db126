//! The model to start from and the data: given, or embedded.

use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail};
use burn_gpt_oss::{CheckpointReader, GptOssConfig, OutputDirectory, Tokenizer};
use burn_qat_train::{
    ChatFormat, ChatRecord, DataNotes, DataSource, ExampleData, PackedExamples, QatError, Recipe,
    Split, TokenCache, TokenFile, TokenSubset, TokenizedExample, dataset_files, pack_rows,
};

use crate::console::Bar;
use crate::dataset::{self, Example, sft_examples, write_jsonl};
use crate::embedded;
use crate::terminal::{say, visible, warn};

/// Conversations of the embedded dataset.
const EMBEDDED_TRAIN: usize = 14_400;
const EMBEDDED_VALID: usize = 300;
/// Most conversations that a short run calibrates with.
const SHORT_CALIBRATION: usize = 8;

/// Datasets from this size on are kept as tokens.
const LARGE: u64 = 16 << 20;

/// Training and validation data.
pub struct Data {
    pub train: ExampleData<TokenizedExample>,
    /// Tokens of each training example.
    pub train_lengths: Vec<usize>,
    /// Lines of the files that each training example is from.
    lines: Vec<Vec<usize>>,
    pub valid: Vec<TokenizedExample>,
    /// What is neither trained on nor held out, where something is calibrated.
    pub calibration: Vec<TokenizedExample>,
    /// Validation conversations; the first of them are answered for the pass rate.
    pub valid_records: Vec<ChatRecord>,
    /// The largest token id.
    pub largest_token: u32,
    /// The embedded dataset, where it is used: training, validation, calibration.
    generated: Option<[Vec<Example>; 3]>,
}

impl Data {
    /// Tokens of the longest sequence.
    pub fn longest(&self) -> usize {
        let valid = self.valid.iter().map(|example| example.tokens.len());
        valid
            .chain(self.train_lengths.iter().copied())
            .max()
            .unwrap_or(0)
    }

    /// Where training examples are from, for messages.
    pub fn name(&self, examples: &[usize]) -> String {
        let lines = examples
            .iter()
            .filter_map(|example| self.lines.get(*example));
        let lines: Vec<String> = lines.flatten().map(ToString::to_string).collect();
        match lines.is_empty() {
            true => format!("training examples {examples:?}, counted from 0"),
            false => format!("lines {} of the data", lines.join(", ")),
        }
    }

    /// Writes the embedded dataset as JSONL, so that it can be looked at.
    pub fn write_generated(&self, out: &Path) -> Result<()> {
        let Some(generated) = &self.generated else {
            return Ok(());
        };
        let names = ["train.jsonl", "valid.jsonl", "calibration.jsonl"];
        for (name, examples) in names.into_iter().zip(generated) {
            if examples.is_empty() {
                continue;
            }
            let path = out.join(name);
            let file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
            write_jsonl(std::io::BufWriter::new(file), examples)
                .with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

/// The tokenizer of the model.
pub fn tokenizer(recipe: &Recipe) -> Result<Tokenizer> {
    Ok(match &recipe.model {
        Some(dir) => Tokenizer::from_file(dir.join("tokenizer.json"))?,
        None => Tokenizer::from_bytes(embedded::TOKENIZER)?,
    })
}

/// The directory of the original checkpoint; the embedded one is written into the output directory,
/// so that every row of the table is measured on a directory.
pub fn original(recipe: &Recipe, resume: bool, out: &Path) -> Result<PathBuf> {
    if let Some(dir) = &recipe.model {
        return Ok(dir.clone());
    }
    let target = out.join("original");
    if resume && target.is_dir() {
        return Ok(target);
    }
    let dir = OutputDirectory::create(&target, false)?;
    embedded::write(dir.path())?;
    dir.commit()?;
    Ok(target)
}

/// The architecture, before anything large is opened.
pub fn config(given: Option<&CheckpointReader>) -> Result<GptOssConfig> {
    match given {
        Some(reader) => Ok(reader.config().clone()),
        None => Ok(GptOssConfig::from_json(embedded::CONFIG)?),
    }
}

/// Reads or generates the conversations and tokenizes them; few of them for a `short` run.
pub fn data(
    recipe: &Recipe,
    short: bool,
    format: &ChatFormat,
    tokenizer: &Tokenizer,
) -> Result<Data> {
    let n_calibration = match (recipe.calibrates(), short) {
        (false, _) => 0,
        (true, false) => recipe.dataset.calibration_rows,
        (true, true) => recipe.dataset.calibration_rows.min(SHORT_CALIBRATION),
    };
    match &recipe.data {
        Some(path) => given(path, (recipe, n_calibration), format, tokenizer),
        None if recipe.model.is_some() => {
            bail!("--model needs --data: the embedded dataset is made for the embedded model")
        }
        None => {
            let generated = generate(short, n_calibration);
            let [train, valid, calibration] = generated.each_ref().map(|list| records(list));
            let (train, valid, calibration) = (train?, valid?, calibration?);
            let tokens = |records: &[ChatRecord]| match records.is_empty() {
                true => Ok(Vec::new()),
                false => format
                    .tokenize_all(records, tokenizer)
                    .map(|all| all.examples),
            };
            let (mut train, calibration) = (tokens(&train)?, tokens(&calibration)?);
            if recipe.dataset.packing {
                let lengths: Vec<usize> =
                    train.iter().map(|example| example.tokens.len()).collect();
                train = PackedExamples::new(&train, format.max_length).examples;
                tell_packing(&lengths, train.len(), format.max_length);
            }
            let (all, valid_tokens) = (train.iter(), tokens(&valid)?);
            let ids = all.chain(&valid_tokens).flat_map(|example| &example.tokens);
            Ok(Data {
                largest_token: ids.copied().max().unwrap_or(0),
                train_lengths: train.iter().map(|example| example.tokens.len()).collect(),
                train: train.into(),
                lines: Vec::new(),
                valid: valid_tokens,
                calibration,
                valid_records: valid,
                generated: Some(generated),
            })
        }
    }
}

/// The files, split at random or by file. What cannot be used is told before anything is refused for want
/// of it.
fn given(
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

fn tell_packing(lengths: &[usize], n_rows: usize, max_length: usize) {
    let tokens: usize = lengths.iter().sum();
    say(format!(
        "packed {} conversations into {n_rows} rows of {max_length} tokens, {:.1} % full",
        lengths.len(),
        100.0 * tokens as f64 / (n_rows * max_length).max(1) as f64
    ));
}

/// Prints what a user should know about the rows.
pub fn tell(notes: &DataNotes) {
    for note in notes.iter() {
        warn(format_args!("note: {}", visible(&note.to_string())));
    }
}

fn generate(short: bool, n_calibration: usize) -> [Vec<Example>; 3] {
    let (train, valid) = if short {
        (64, 16)
    } else {
        (EMBEDDED_TRAIN, EMBEDDED_VALID)
    };
    let mut all = sft_examples(dataset::Split::Train, train + n_calibration, 7);
    let calibration = all.split_off(all.len().saturating_sub(n_calibration));
    [
        all,
        sft_examples(dataset::Split::HeldOut, valid, 7),
        calibration,
    ]
}

fn records(examples: &[Example]) -> Result<Vec<ChatRecord>> {
    let record = |example: &Example| {
        let row = example.row_json();
        ChatRecord::from_json(&row, None, &mut DataNotes::default()).map_err(Error::msg)
    };
    examples.iter().map(record).collect()
}
