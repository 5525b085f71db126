//! The recipe with low-rank adapters: the base stays as it lies in the file, and is not trained.

use std::path::PathBuf;

use anyhow::Result;
use burn_gpt_oss::{AdapterCheckpoint, AdapterDialect, AdapterRounding, CheckpointReader, GptOss};
use burn_qat_train::{
    AdapterTable, LogitDifference, LoraConfig, MergeReport, insert_adapters, round_adapters,
};

use crate::console::Bar;
use crate::resume::Trained;
use crate::run::{ORIGINAL, Run};
use crate::stages::directory;
use crate::terminal::say;

/// The directory of the model that is rounded after training.
const PTQ_DIR: &str = "lora_sft_ptq";

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
        let base = self
            .source
            .load_stored(&self.device, master, |p| bar.checkpoint(&p))?;
        bar.finish();
        let (model, adapted) = insert_adapters(base.clone(), lora)?;
        say(format_args!(
            "\nadapters of rank {} on {} weights:\n{}\n",
            lora.rank,
            adapted.len(),
            AdapterTable::new(&adapted)
        ));

        let Some(sft) = self.lora_stage(names.sft, 0, &base, model)? else {
            return Ok(());
        };
        self.plot(&[(names.sft, 0, &sft.history)])?;
        if self.cancel.pressed() {
            return Ok(());
        }
        let ptq = self.round(&sft)?;
        if self.cancel.pressed() {
            return Ok(());
        }

        let start = sft.best_step;
        let Some(qat) = self.lora_stage(names.qat, start, &base, ptq)? else {
            return Ok(());
        };
        let (rounded, _) = round_adapters(qat.model, &self.settings.policy)?;
        say(format_args!("\n{}\n", MergeReport::new(&rounded)?));
        self.compare_logits(&rounded)?;
        self.plot(&[
            (names.sft, 0, &sft.history),
            (names.qat, start, &qat.history),
        ])
    }

    /// Trains and saves a stage, or takes over what an earlier run completed. None if no step was done.
    fn lora_stage(
        &mut self,
        name: &'static str,
        start: usize,
        base: &GptOss,
        model: GptOss,
    ) -> Result<Option<Trained>> {
        let (dir, adapter) = (self.out().join(directory(name)), self.adapter_dir(name));
        if let Some(trained) = self.completed(name, base)? {
            self.evaluate(name, start + trained.best_step, &dir)?;
            return Ok(Some(trained));
        }
        if self.resumes {
            self.forget(name, &[dir, adapter])?;
        }
        let is_qat = name == self.names().qat;
        let config = match is_qat {
            true => self.settings.qat.clone(),
            false => self.settings.sft.clone(),
        };
        let ended = self.train(name, model, config)?;
        if ended.outcome.best_step == 0 {
            say(format_args!(
                "{name}: stopped before the first optimizer step, nothing was trained"
            ));
            return Ok(None);
        }
        let save = if is_qat {
            Self::save_qat
        } else {
            Self::save_sft
        };
        Ok(Some(self.finish(name, start, ended, save)?.into()))
    }

    /// The sums of weights and adapters in FP4, exported and evaluated.
    fn round(&mut self, sft: &Trained) -> Result<GptOss> {
        let (ptq, adapted) = round_adapters(sft.model.clone(), &self.settings.policy)?;
        let rounded = adapted.iter().filter(|weight| weight.scheme.is_some());
        say(format_args!(
            "\nrounded by {}: {} sums of a weight and its adapter, of {} adapted weights\n",
            self.settings.policy.name,
            rounded.count(),
            adapted.len()
        ));
        let name = self.names().ptq;
        if self.table.row(name).is_none() {
            if self.resumes {
                self.forget(name, &[self.out().join(PTQ_DIR)])?;
            }
            let dir = self.export(PTQ_DIR, &ptq)?;
            self.evaluate(name, sft.best_step, &dir)?;
        }
        Ok(ptq)
    }

    /// The exported model beside the trained one: merged attention is rounded to bfloat16.
    fn compare_logits(&self, trained: &GptOss) -> Result<()> {
        let Some(example) = self.data.valid.first() else {
            return Ok(());
        };
        let exported = self.out().join(directory(self.names().qat));
        let master = self.settings.qat.element_types.master;
        let exported = CheckpointReader::open(&exported)?;
        let exported = exported.load_stored(&self.device, master, |_| {})?;
        let difference = LogitDifference::of(trained, &exported, &example.tokens)?;
        say(format_args!(
            "logits of the exported model are {:.1e} from the trained one's in the mean and {:.1e} at most, on {} tokens \
             whose logits reach {:.1}: attention and its adapters are merged into bfloat16\n",
            difference.mean,
            difference.largest,
            example.tokens.len(),
            difference.magnitude
        ));
        Ok(())
    }

    /// Where the factors of a stage are written.
    pub fn adapter_dir(&self, name: &str) -> PathBuf {
        self.out().join(format!("{}_adapter", directory(name)))
    }

    /// The factors first: they are what was trained.
    fn save_sft(&self, dir: &str, model: &GptOss) -> Result<PathBuf> {
        self.save_adapter(self.names().sft, model, None)?;
        self.save_bf16(dir, model)
    }

    fn save_qat(&self, dir: &str, model: &GptOss) -> Result<PathBuf> {
        let start = self.table.row(self.names().sft).map(|row| row.steps);
        self.save_adapter(self.names().qat, model, start)?;
        self.export(dir, model)
    }

    /// Writes the factors as PEFT does, with the rounding that they were trained with.
    fn save_adapter(
        &self,
        name: &str,
        model: &GptOss,
        rounded_from: Option<usize>,
    ) -> Result<PathBuf> {
        let dir = self.adapter_dir(name);
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
