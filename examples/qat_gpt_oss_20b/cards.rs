//! Model cards of what a run exported: where the weights come from, what was reached, how they are deployed.

use std::path::Path;

use anyhow::Result;
use burn_gpt_oss::{CheckpointForm, CheckpointReader, ConvertTarget, ModelCard};
use burn_qat_train::ResultRow;
use sha2::{Digest, Sha256};

use crate::output::{RECIPE, RUN, write};
use crate::run::{ORIGINAL, Run};
use crate::settings::StagePlan;

/// What the hub shows of a directory.
const FILE: &str = "README.md";

impl Run {
    /// Writes a card into every checkpoint that has a row.
    pub fn write_cards(&self) -> Result<()> {
        let data = self.data_fingerprint()?;
        for row in &self.table.rows {
            let is_checkpoint = row.dir.join("config.json").is_file();
            if row.name == ORIGINAL || !is_checkpoint || !row.dir.starts_with(self.out()) {
                continue;
            }
            let card = self.card(row, &data);
            write(
                &row.dir.join(FILE),
                &card.to_markdown(target(row.report.form)),
            )?;
        }
        Ok(())
    }

    fn card(&self, row: &ResultRow, data: &str) -> ModelCard {
        let base = name_of(&self.original);
        let seed = self.settings.recipe.seed;
        let mut facts = vec![
            ("form".into(), row.report.form.to_string()),
            (
                "base model".into(),
                format!("{base}, {}", self.source.form()),
            ),
            ("weights of the base, SHA-256".into(), headers(&self.source)),
            ("data, SHA-256 of tokens and masks".into(), data.into()),
            ("steps, seed".into(), format!("{}, {seed}", row.steps)),
            (
                "validation loss, pass rate".into(),
                format!("{:.4}, {}", row.report.loss.loss, row.report.pass_rate),
            ),
            ("burn-qat".into(), env!("CARGO_PKG_VERSION").into()),
        ];
        if let Some(stage) = self.stage_of(row) {
            facts.push(("quantized by".into(), quantization(stage)));
        }
        let read = |name: &str| std::fs::read_to_string(self.out().join(name)).ok();
        let recipe = read(RECIPE).map(|text| format!("```json\n{}\n```", text.trim_end()));
        let sections = [
            ("Results".to_owned(), Some(self.table.to_markdown())),
            ("Recipe, all values decided".to_owned(), recipe),
        ];
        let sections = sections
            .into_iter()
            .filter_map(|(title, text)| Some((title, text?)));
        ModelCard {
            title: format!("{base}, {}", row.name),
            base_model: base,
            facts,
            sections: sections.collect(),
            reproduction: read(RUN)
                .and_then(|text| command(&text))
                .into_iter()
                .collect(),
        }
    }

    /// The stage that rounded the weights of a row, in training or behind it.
    fn stage_of(&self, row: &ResultRow) -> Option<&StagePlan> {
        let rounds = |stage: &&StagePlan| {
            let behind = || {
                stage
                    .ptq
                    .iter()
                    .any(|method| stage.ptq_title(method) == row.name)
            };
            (stage.is_qat() && stage.title == row.name) || behind()
        };
        self.settings.stages.iter().find(rounds)
    }

    fn data_fingerprint(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for example in self.data.train.iter() {
            hash.update(serde_json::to_vec(&example?)?);
        }
        Ok(hex(hash))
    }
}

fn quantization(stage: &StagePlan) -> String {
    let schemes = stage.policy.rules.iter().filter_map(|rule| rule.scheme);
    let schemes: Vec<String> = schemes.map(|scheme| scheme.to_string()).collect();
    format!("{}: {}", stage.policy.name, schemes.join(", "))
}

/// Hash of the names, types and shapes of all tensors, and of the first and last byte of each: reading all weights again would take
/// as long as writing them.
fn headers(source: &CheckpointReader) -> String {
    let mut hash = Sha256::new();
    let mut names: Vec<&str> = source.tensor_names().collect();
    names.sort_unstable();
    for name in names {
        hash.update(name);
        if let Ok(tensor) = source.raw(name) {
            let ends = [tensor.bytes.first(), tensor.bytes.last()];
            hash.update(format!(
                "{:?}{:?}{}",
                tensor.dtype,
                tensor.shape,
                tensor.bytes.len()
            ));
            hash.update(ends.into_iter().flatten().copied().collect::<Vec<u8>>());
        }
    }
    format!(
        "{} (of names, types, shapes, and the ends of tensors)",
        hex(hash)
    )
}

fn hex(hash: Sha256) -> String {
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The command line in `run.json`, the program as Cargo calls it.
fn command(run: &str) -> Option<String> {
    let run: serde_json::Value = serde_json::from_str(run).ok()?;
    let words = run["command"].as_array()?.iter().skip(1);
    let quoted = words.filter_map(|word| {
        let word = word.as_str()?;
        let plain = word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./=".contains(&byte));
        Some(match plain && !word.is_empty() {
            true => word.to_owned(),
            false => format!("'{}'", word.replace('\'', "'\\''")),
        })
    });
    let words: Vec<String> = quoted.collect();
    Some(format!(
        "cargo run --release --example qat_gpt_oss_20b -- {}",
        words.join(" ")
    ))
}

fn target(form: CheckpointForm) -> ConvertTarget {
    match form {
        CheckpointForm::Mxfp4 => ConvertTarget::Mxfp4,
        CheckpointForm::Bf16 => ConvertTarget::Bf16,
        CheckpointForm::Nvfp4 | CheckpointForm::Nvfp4W4A4 => ConvertTarget::Nvfp4,
    }
}

fn name_of(dir: &Path) -> String {
    let name = dir.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
