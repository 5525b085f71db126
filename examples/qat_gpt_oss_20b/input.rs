//! The model to start from and the data: given, or embedded.

use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};
use burn_gpt_oss::{CheckpointReader, GptOssConfig, OutputDirectory, Tokenizer};
use burn_qat_train::{
    ChatFormat, ChatRecord, DataNotes, ExampleData, PackedExamples, Recipe, TokenizedExample,
};

use crate::dataset::{self, Example, sft_examples, write_jsonl};
use crate::embedded;
use crate::files;
use crate::terminal::{say, visible, warn};

/// Conversations of the embedded dataset.
const EMBEDDED_TRAIN: usize = 14_400;
const EMBEDDED_VALID: usize = 300;
/// Most conversations that a short run calibrates with.
const SHORT_CALIBRATION: usize = 8;

/// Training and validation data.
pub struct Data {
    pub train: ExampleData<TokenizedExample>,
    /// Tokens of each training example.
    pub train_lengths: Vec<usize>,
    /// Lines of the files that each training example is from.
    pub lines: Vec<Vec<usize>>,
    pub valid: Vec<TokenizedExample>,
    /// What is neither trained on nor held out, where something is calibrated.
    pub calibration: Vec<TokenizedExample>,
    /// Validation conversations; the first of them are answered for the pass rate.
    pub valid_records: Vec<ChatRecord>,
    /// The largest token id.
    pub largest_token: u32,
    /// The embedded dataset, where it is used: training, validation, calibration.
    pub generated: Option<[Vec<Example>; 3]>,
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
        Some(path) => files::data(path, (recipe, n_calibration), format, tokenizer),
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

/// Tells how full rows are.
pub fn tell_packing(lengths: &[usize], n_rows: usize, max_length: usize) {
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
