//! The model to start from and the data: given, or embedded.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn_gpt_oss::Tokenizer;
use burn_qat_train::{ChatFormat, ChatRecord, TokenizedExample, read_jsonl};
use rand::seq::SliceRandom;
use rand::{SeedableRng, rngs::StdRng};

use crate::args::Args;
use crate::dataset::{Example, Split, sft_examples, write_jsonl};

/// Files of the embedded checkpoint, made by `examples/pretrain_tiny.rs`.
const EMBEDDED: [(&str, &[u8]); 4] = [
    ("config.json", include_bytes!("../../assets/tiny-gpt-oss/config.json")),
    ("generation_config.json", include_bytes!("../../assets/tiny-gpt-oss/generation_config.json")),
    ("model.safetensors", include_bytes!("../../assets/tiny-gpt-oss/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../assets/tiny-gpt-oss/tokenizer.json")),
];

/// Conversations of the embedded dataset.
const EMBEDDED_TRAIN: usize = 2000;
const EMBEDDED_VALID: usize = 400;

/// Training and validation data.
pub struct Data {
    pub train: Vec<TokenizedExample>,
    pub valid: Vec<TokenizedExample>,
    /// The validation conversations; the first of them are answered for the pass rate.
    pub records: Vec<ChatRecord>,
}

/// The directory of the original checkpoint; the embedded one is written into the output directory,
/// so that every row of the table is measured on a directory.
pub fn original(args: &Args, out: &Path) -> Result<PathBuf> {
    if let Some(dir) = &args.model {
        return Ok(dir.clone());
    }
    let dir = out.join("original");
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    for (name, bytes) in EMBEDDED {
        let path = dir.join(name);
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    Ok(dir)
}

/// Reads or generates the conversations and tokenizes them.
pub fn data(args: &Args, format: &ChatFormat, tokenizer: &Tokenizer, out: &Path) -> Result<Data> {
    let (train, valid) = match &args.data {
        Some(path) => given(path, args)?,
        None if args.model.is_some() => {
            bail!("--model needs --data: the embedded dataset is made for the embedded model")
        }
        None => embedded(args, out)?,
    };
    Ok(Data {
        train: format.tokenize_all(&train, tokenizer)?,
        valid: format.tokenize_all(&valid, tokenizer)?,
        records: valid,
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

/// The generated dataset, also written as JSONL so that it can be looked at.
fn embedded(args: &Args, out: &Path) -> Result<Records> {
    let (train, valid) = if args.smoke { (64, 16) } else { (EMBEDDED_TRAIN, EMBEDDED_VALID) };
    let train = sft_examples(Split::Train, train, 7);
    let valid = sft_examples(Split::HeldOut, valid.max(args.prompts.min(EMBEDDED_VALID)), 7);
    for (name, examples) in [("train.jsonl", &train), ("valid.jsonl", &valid)] {
        let path = out.join(name);
        let file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
        write_jsonl(std::io::BufWriter::new(file), examples)
            .with_context(|| path.display().to_string())?;
    }
    Ok((records(&train)?, records(&valid)?))
}

fn records(examples: &[Example]) -> Result<Vec<ChatRecord>> {
    examples.iter().map(|example| Ok(serde_json::from_value(example.row_json())?)).collect()
}
