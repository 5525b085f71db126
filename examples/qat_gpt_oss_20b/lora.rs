//! The recipe with low-rank adapters: the base stays as it lies in the file, and is not trained.

use std::path::PathBuf;

use anyhow::Result;
use burn_gpt_oss::{AdapterCheckpoint, AdapterDialect, AdapterRounding, GptOss};
use burn_qat_train::{AdapterTable, LoraConfig, MergeReport, insert_adapters, round_adapters};

use crate::console::Bar;
use crate::run::{ORIGINAL, Run};
use crate::terminal::say;

impl Run {
    /// SFT of the factors, PTQ of the sums, QAT of the factors on rounded sums.
    pub fn lora_stages(&mut self, lora: &LoraConfig) -> Result<()> {
        let names = self.names();
        let original = self.original.clone();
        self.evaluate(ORIGINAL, 0, &original)?;
        if self.cancel.pressed() {
            say("stopped before the first optimizer step: nothing was trained");
            return Ok(());
        }
        let bar = Bar::new("loading");
        let master = self.settings.sft.element_types.master;
        let model = self
            .source
            .load_stored(&self.device, master, |p| bar.checkpoint(&p))?;
        bar.finish();
        let (model, adapted) = insert_adapters(model, lora)?;
        say(format_args!(
            "\nadapters of rank {} on {} weights:\n{}\n",
            lora.rank,
            adapted.len(),
            AdapterTable::new(&adapted)
        ));

        let sft = self.train(names.sft, model, self.settings.sft.clone())?;
        if sft.outcome.best_step == 0 {
            say("stopped before the first optimizer step: nothing was trained");
            return Ok(());
        }
        let sft = self.finish(names.sft, 0, sft, Self::save_sft)?;
        self.plot(&[(names.sft, 0, &sft.history)])?;
        if self.cancel.pressed() {
            return Ok(());
        }

        let (ptq, adapted) = round_adapters(sft.model.clone(), &self.settings.policy)?;
        let rounded = adapted.iter().filter(|weight| weight.scheme.is_some());
        say(format_args!(
            "\nrounded by {}: {} sums of a weight and its adapter, of {} adapted weights\n",
            self.settings.policy.name,
            rounded.count(),
            adapted.len()
        ));
        let ptq_dir = self.export("lora_sft_ptq", &ptq)?;
        self.evaluate(names.ptq, sft.best_step, &ptq_dir)?;
        if self.cancel.pressed() {
            return Ok(());
        }

        let start = sft.best_step;
        let qat = self.train(names.qat, ptq, self.settings.qat.clone())?;
        if qat.outcome.best_step == 0 {
            return Ok(());
        }
        let qat = self.finish(names.qat, start, qat, Self::save_qat)?;
        say(format_args!("\n{}\n", MergeReport::new(&qat.model)?));
        self.plot(&[
            (names.sft, 0, &sft.history),
            (names.qat, start, &qat.history),
        ])
    }

    /// The factors first: they are what was trained.
    fn save_sft(&self, dir: &str, model: &GptOss) -> Result<PathBuf> {
        self.save_adapter("lora_sft_adapter", model, None)?;
        self.save_bf16(dir, model)
    }

    fn save_qat(&self, dir: &str, model: &GptOss) -> Result<PathBuf> {
        let start = self.table.row(self.names().sft).map(|row| row.steps);
        self.save_adapter("lora_qat_adapter", model, start)?;
        self.export(dir, model)
    }

    /// Writes the factors as PEFT does, with the rounding that they were trained with.
    fn save_adapter(
        &self,
        dir: &str,
        model: &GptOss,
        rounded_from: Option<usize>,
    ) -> Result<PathBuf> {
        let dir = self.out().join(dir);
        let Some(lora) = &self.settings.lora else {
            return Ok(dir);
        };
        let mut settings = lora.settings(&self.original.display().to_string());
        let scheme = model
            .expert_weights()
            .find_map(|(_, weight)| weight.adapter()?.scheme());
        settings.rounding = scheme
            .zip(rounded_from)
            .map(|(scheme, start_step)| AdapterRounding {
                scheme: scheme.to_string(),
                start_step,
            });
        let adapter = AdapterCheckpoint::of(model, settings)?;
        adapter.save(&dir, model.config(), AdapterDialect::Peft, false)?;
        say(format_args!("adapter {} (PEFT)", dir.display()));
        Ok(dir)
    }
}
