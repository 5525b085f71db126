use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn_gpt_oss::Tokenizer;
use burn_qat_train::{DatasetSettings, RecipeSource};
use clap::{Parser, ValueEnum};

use crate::embedded;

/// Shows what a dataset becomes: some conversations with the trained tokens in colour, token counts,
/// lengths, what is cut, copies, languages.
///
/// It reads what the trainer reads, by the same settings: JSONL, JSON arrays, .gz and .zst, directories
/// and patterns (and Parquet, built with that feature), in all shapes of docs/data.md.
#[derive(Parser)]
#[command(name = "inspect_data", version)]
pub struct Args {
    /// The dataset: a file, a directory, or a pattern such as 'data/*.jsonl'.
    pub data: PathBuf,
    /// Settings of the key `dataset` of a recipe, as `loss_mask=final_only` or `columns.prompt=question`.
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// The recipe file whose `dataset` settings are taken.
    #[arg(long, value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Checkpoint directory or tokenizer.json of the model. Without it the tokens are those of the
    /// embedded tiny model, which are shorter.
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// Conversations that are shown.
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub rows: usize,
    /// Writes the same as a page of HTML, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Colours in the terminal.
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    colour: Colour,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    /// If the output is a terminal and NO_COLOR is not set.
    Auto,
    /// Always.
    Always,
    /// Never: trained text stands between brackets.
    Never,
}

impl Args {
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let Some(path) = &self.model else {
            return Ok(Tokenizer::from_bytes(embedded::TOKENIZER)?);
        };
        let file = match path.is_dir() {
            true => path.join("tokenizer.json"),
            false => path.clone(),
        };
        Ok(Tokenizer::from_file(file)?)
    }

    /// Those of the recipe, with the overrides.
    pub fn settings(&self) -> Result<DatasetSettings> {
        let mut source = match &self.recipe {
            Some(path) => RecipeSource::read(path)?,
            None => RecipeSource::parse("stages: {sft: {}}", Path::new("defaults.yaml"))?,
        };
        for setting in &self.overrides {
            let setting = setting.strip_prefix("dataset.").unwrap_or(setting);
            source.set(&format!("dataset.{setting}"))?;
        }
        Ok(source.resolve().context("the settings")?.dataset)
    }

    pub fn colour(&self) -> bool {
        match self.colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => {
                std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
            }
        }
    }

    pub fn title(&self) -> String {
        self.data.display().to_string()
    }
}
