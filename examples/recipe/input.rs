//! The model to start from and the data: given, or embedded.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn_gpt_oss::{OutputDirectory, Tokenizer};
use burn_qat_train::{ChatFormat, ChatRecord, TokenizedExample, read_jsonl};
use rand::seq::SliceRandom;
use rand::{SeedableRng, rngs::StdRng};

use crate::args::Args;
use crate::dataset::{Example, Split, sft_examples, write_jsonl};
use crate::embedded;

/// Conversations of the embedded dataset.
const EMBEDDED_TRAIN: usize = 2000;
const EMBEDDED_VALID: usize = 300;

/// Training and validation data.
pub struct Data {
    pub train: Vec<TokenizedExample>,
    pub valid: Vec<TokenizedExample>,
    /// The validation conversations; the first of them are answered for the pass rate.
    pub valid_records: Vec<ChatRecord>,
    /// The embedded dataset, training and validation, where it is used.
    generated: Option<[Vec<Example>; 2]>,
}

impl Data {
    /// Writes the embedded dataset as JSONL, so that it can be looked at.
    pub fn write_generated(&self, out: &Path) -> Result<()> {
        let Some(generated) = &self.generated else {
            return Ok(());
        };
        for (name, examples) in ["train.jsonl", "valid.jsonl"].into_iter().zip(generated) {
            let path = out.join(name);
            let file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
            write_jsonl(std::io::BufWriter::new(file), examples)
                .with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

/// The tokenizer of the model.
pub fn tokenizer(args: &Args) -> Result<Tokenizer> {
    Ok(match &args.model {
        Some(dir) => Tokenizer::from_file(dir.join("tokenizer.json"))?,
        None => Tokenizer::from_bytes(embedded::TOKENIZER)?,
    })
}

/// The directory of the original checkpoint; the embedded one is written into the output directory,
/// so that every row of the table is measured on a directory.
pub fn original(args: &Args, out: &Path) -> Result<PathBuf> {
    if let Some(dir) = &args.model {
        return Ok(dir.clone());
    }
    let target = out.join("original");
    let dir = OutputDirectory::create(&target, false)?;
    embedded::write(dir.path())?;
    dir.commit()?;
    Ok(target)
}

/// Reads or generates the conversations and tokenizes them.
pub fn data(args: &Args, format: &ChatFormat, tokenizer: &Tokenizer) -> Result<Data> {
    let mut generated = None;
    let (train, valid) = match &args.data {
        Some(path) => given(path, args)?,
        None if args.model.is_some() => {
            bail!("--model needs --data: the embedded dataset is made for the embedded model")
        }
        None => {
            let [train, valid] = generated.insert(generate(args));
            (records(train)?, records(valid)?)
        }
    };
    Ok(Data {
        train: format.tokenize_all(&train, tokenizer)?,
        valid: format.tokenize_all(&valid, tokenizer)?,
        valid_records: valid,
        generated,
    })
}

type Records = (Vec<ChatRecord>, Vec<ChatRecord>);

fn given(path: &Path, args: &Args) -> Result<Records> {
    let mut records = read_jsonl(path)?;
    records.shuffle(&mut StdRng::seed_from_u64(args.seed));
    let valid = (records.len() as f64 * args.eval_fraction).ceil() as usize;
    if valid == 0 || valid >= records.len() {
        bail!(
            "{}: {} conversations leave nothing for {}; use more data or another --eval-fraction",
            path.display(),
            records.len(),
            if valid == 0 { "validation" } else { "training" }
        );
    }
    let train = records.split_off(valid);
    Ok((train, records))
}

fn generate(args: &Args) -> [Vec<Example>; 2] {
    let (train, valid) = if args.smoke {
        (64, 16)
    } else {
        (EMBEDDED_TRAIN, EMBEDDED_VALID)
    };
    [
        sft_examples(Split::Train, train, 7),
        sft_examples(Split::HeldOut, valid, 7),
    ]
}

fn records(examples: &[Example]) -> Result<Vec<ChatRecord>> {
    examples
        .iter()
        .map(|example| Ok(serde_json::from_value(example.row_json())?))
        .collect()
}
