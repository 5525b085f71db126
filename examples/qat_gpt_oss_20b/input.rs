//! The model to start from and the data: given, or embedded.

use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail};
use burn_gpt_oss::{CheckpointReader, GptOssConfig, OutputDirectory, Tokenizer};
use burn_qat_train::{
    ChatFormat, ChatRecord, DataNotes, PackedExamples, QatError, Recipe, Split, TokenizedExample,
    read_dataset,
};

use crate::dataset::{self, Example, sft_examples, write_jsonl};
use crate::embedded;
use crate::terminal::{say, visible, warn};

/// Conversations of the embedded dataset.
const EMBEDDED_TRAIN: usize = 14_400;
const EMBEDDED_VALID: usize = 300;
/// Most conversations that a short run calibrates with.
const SHORT_CALIBRATION: usize = 8;

/// Training and validation data.
pub struct Data {
    pub train: Vec<TokenizedExample>,
    /// Lines of the files that each training example is from.
    lines: Vec<Vec<usize>>,
    pub valid: Vec<TokenizedExample>,
    /// What is neither trained on nor held out, where something is calibrated.
    pub calibration: Vec<TokenizedExample>,
    /// The validation conversations; the first of them are answered for the pass rate.
    pub valid_records: Vec<ChatRecord>,
    /// The embedded dataset, where it is used: training, validation, calibration.
    generated: Option<[Vec<Example>; 3]>,
}

impl Data {
    /// Takes the last training examples for calibration.
    fn keep_for_calibration(&mut self, rows: usize) -> Result<()> {
        let left = self.train.len().checked_sub(rows).filter(|left| *left > 0);
        let Some(left) = left else {
            bail!(
                "{} conversations to train on leave nothing for training beside \
                 `dataset.calibration_rows` = {rows}; use more data or fewer rows",
                self.train.len()
            );
        };
        self.calibration = self.train.split_off(left);
        Ok(())
    }

    /// Puts training conversations into rows, and tells how full they are.
    fn pack(&mut self, max_length: usize) {
        let packed = PackedExamples::new(&self.train, max_length);
        say(format!(
            "packed {} conversations into {} rows of {max_length} tokens, {:.1} % full",
            self.train.len(),
            packed.examples.len(),
            100.0 * packed.efficiency()
        ));
        let lines = |row: &Vec<usize>| {
            let lines = row.iter().filter_map(|i| self.lines.get(*i));
            lines.flatten().copied().collect()
        };
        self.lines = packed.members.iter().map(lines).collect();
        self.train = packed.examples;
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
        Some(path) => {
            let mut data = given(path, recipe, format, tokenizer)?;
            data.keep_for_calibration(n_calibration)?;
            if recipe.dataset.packing {
                data.pack(format.max_length);
            }
            Ok(data)
        }
        None if recipe.model.is_some() => {
            bail!("--model needs --data: the embedded dataset is made for the embedded model")
        }
        None => {
            let generated = generate(short, n_calibration);
            let [train, valid, calibration] = generated.each_ref().map(|list| records(list));
            let (train, valid, calibration) = (train?, valid?, calibration?);
            let mut data = Data {
                train: format.tokenize_all(&train, tokenizer)?.examples,
                lines: Vec::new(),
                valid: format.tokenize_all(&valid, tokenizer)?.examples,
                calibration: match calibration.is_empty() {
                    true => Vec::new(),
                    false => format.tokenize_all(&calibration, tokenizer)?.examples,
                },
                valid_records: valid,
                generated: Some(generated),
            };
            if recipe.dataset.packing {
                data.pack(format.max_length);
            }
            Ok(data)
        }
    }
}

/// The files, split at random or by file. What cannot be used is told before anything is refused for want
/// of it.
fn given(path: &Path, recipe: &Recipe, format: &ChatFormat, tokenizer: &Tokenizer) -> Result<Data> {
    let mut rows = tokenized(path, recipe, format, tokenizer)?;
    let n_train = rows.examples.len();
    let mut split = match &recipe.eval_data {
        None => Split::random(n_train, recipe.dataset.eval_fraction, recipe.seed),
        Some(path) => {
            let valid = tokenized(path, recipe, format, tokenizer)?;
            rows.records.extend(valid.records);
            rows.examples.extend(valid.examples);
            Split {
                train: (0..n_train).collect(),
                valid: (n_train..rows.examples.len()).collect(),
            }
        }
    };
    let both = split.remove_overlap(&rows.examples);
    let mut notes = DataNotes::default();
    for index in &both {
        let text = "conversations that are held out, too, token for token: not trained";
        notes.add(text, rows.records[*index].line);
    }
    tell(&notes);
    if split.train.is_empty() && !both.is_empty() {
        bail!(
            "{}: the conversations to train on are copies of those that are held out; use other data",
            path.display()
        );
    }
    if split.valid.is_empty() || split.train.is_empty() {
        bail!(
            "{}: {} usable conversations leave nothing for {}; use more data or another --eval-fraction",
            path.display(),
            rows.examples.len(),
            match split.valid.is_empty() {
                true => "validation",
                false => "training",
            }
        );
    }
    let line = |index: &usize| rows.records[*index].line.into_iter().collect();
    Ok(Data {
        train: split
            .train
            .iter()
            .map(|i| rows.examples[*i].clone())
            .collect(),
        lines: split.train.iter().map(line).collect(),
        valid: split
            .valid
            .iter()
            .map(|i| rows.examples[*i].clone())
            .collect(),
        calibration: Vec::new(),
        valid_records: split
            .valid
            .iter()
            .map(|i| rows.records[*i].clone())
            .collect(),
        generated: None,
    })
}

/// Conversations that can be used, and their tokens.
struct Rows {
    records: Vec<ChatRecord>,
    examples: Vec<TokenizedExample>,
}

fn tokenized(
    path: &Path,
    recipe: &Recipe,
    format: &ChatFormat,
    tokenizer: &Tokenizer,
) -> Result<Rows> {
    let dataset = read_dataset(path, &recipe.dataset.reading()).map_err(|error| match error {
        QatError::DatasetLine { .. } => {
            anyhow!("{error} (--skip-bad-rows leaves such rows out and counts them)")
        }
        other => other.into(),
    })?;
    tell(&dataset.notes);
    let tokenized = format.tokenize_all(&dataset.records, tokenizer)?;
    tell(&tokenized.notes);
    let record = |i: &usize| dataset.records[*i].clone();
    Ok(Rows {
        records: tokenized.indices.iter().map(record).collect(),
        examples: tokenized.examples,
    })
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
