//! The recipe, stage by stage.

use std::path::PathBuf;

use anyhow::{Context, Error, Result, anyhow};
use burn_gpt_oss::{CheckpointForm, CheckpointWriter, GptOss};
use burn_qat_train::{
    History, QatError, StageOutcome, TrainConfig, export_mxfp4, insert_quantizers, resume,
    saved_step, train,
};

use crate::console::{self, Bar};
use crate::output;
use crate::run::{
    LONGER, LONGER_PTQ, LORA_QAT, LORA_SFT, ORIGINAL, PTQ, QAT, Run, SFT, print_quantized,
};
use crate::terminal::say;

/// A stage that has ended, and why it could not go on, if it could not.
pub struct Ended {
    pub outcome: StageOutcome,
    failure: Option<QatError>,
}

impl Run {
    /// All stages. Returns early, with what was reached, when the run is to stop. What a stage learned is
    /// saved before an error of it is returned.
    pub fn stages(&mut self) -> Result<()> {
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
            .load(&self.device, master, |p| bar.checkpoint(&p))?;
        bar.finish();
        let sft = self.train(SFT, model, self.settings.sft.clone())?;
        if sft.outcome.best_step == 0 {
            say("stopped before the first optimizer step: nothing was trained");
            return Ok(());
        }
        let sft = self.finish(SFT, 0, sft, Self::save_bf16)?;
        self.plot(&[(SFT, 0, &sft.history)])?;
        if self.cancel.pressed() {
            return Ok(());
        }

        let (ptq, quantized) = insert_quantizers(sft.model.clone(), &self.settings.policy)?;
        print_quantized(&self.settings.policy.name, &quantized);
        let ptq_dir = self.export("sft_ptq", &ptq)?;
        self.evaluate(PTQ, sft.best_step, &ptq_dir)?;
        if self.cancel.pressed() {
            return Ok(());
        }

        let start = sft.best_step;
        let qat = self.train(QAT, ptq, self.settings.qat.clone())?;
        if qat.outcome.best_step == 0 {
            return Ok(());
        }
        let qat = self.finish(QAT, start, qat, Self::export)?;
        self.plot(&[(SFT, 0, &sft.history), (QAT, start, &qat.history)])?;
        if self.cancel.pressed() {
            return Ok(());
        }
        self.control(sft, start, &qat.history)
    }

    /// The same steps once more without quantizers: what more training alone would have given.
    fn control(&mut self, sft: StageOutcome, start: usize, qat: &History) -> Result<()> {
        let longer = self.train(LONGER, sft.model, self.settings.qat.clone())?;
        if longer.outcome.best_step == 0 {
            return Ok(());
        }
        let longer = self.finish(LONGER, start, longer, Self::save_bf16)?;
        if self.cancel.pressed() {
            return Ok(());
        }
        let steps = start + longer.best_step;
        let (longer_ptq, _) = insert_quantizers(longer.model, &self.settings.policy)?;
        let longer_ptq_dir = self.export("sft_longer_ptq", &longer_ptq)?;
        self.evaluate(LONGER_PTQ, steps, &longer_ptq_dir)?;
        let curves = [
            (SFT, 0, &sft.history),
            (QAT, start, qat),
            (LONGER, start, &longer.history),
        ];
        self.plot(&curves)
    }

    /// Trains a stage. An error that leaves a model comes with it, to be saved first.
    pub(crate) fn train(
        &self,
        name: &'static str,
        model: GptOss,
        config: TrainConfig,
    ) -> Result<Ended> {
        let logs = self.logs(name);
        std::fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        let data = (self.data.train.clone(), self.data.valid.clone());
        let (console, interrupter) = (console::training(), self.cancel.interrupter());
        let saved = saved_step(&logs)?.filter(|_| self.resumes);
        if let Some(step) = saved {
            say(format_args!("{name}: goes on after step {step}"));
        }
        let train = if saved.is_some() { resume } else { train };
        match train(name, &logs, model, data, &config, console, interrupter) {
            Ok(outcome) => Ok(Ended {
                outcome,
                failure: None,
            }),
            Err(mut error) => match error.take_kept() {
                Some(outcome) => Ok(Ended {
                    outcome,
                    failure: Some(error),
                }),
                None => Err(error.into()),
            },
        }
    }

    /// Saves and evaluates what a stage ended with, then returns the error it ended with.
    pub(crate) fn finish(
        &mut self,
        name: &str,
        start: usize,
        ended: Ended,
        save: fn(&Self, &str, &GptOss) -> Result<PathBuf>,
    ) -> Result<StageOutcome> {
        let Ended {
            mut outcome,
            failure,
        } = ended;
        let dir = match save(self, directory(name), &outcome.model) {
            Ok(dir) => dir,
            Err(error) => return Err(self.unsaved(error, failure, &mut outcome, name)),
        };
        outcome.discard_record();
        let (steps, rows) = (start + outcome.best_step, self.table.rows.len());
        let evaluated = self.evaluate(name, steps, &dir);
        if self.table.rows.len() == rows {
            say(format_args!(
                "saved {}: the model of step {steps}, not evaluated",
                dir.display()
            ));
        }
        match failure {
            Some(failure) => {
                let what = format!(
                    "{} holds the model of step {}",
                    dir.display(),
                    outcome.best_step
                );
                Err(anyhow!(failure).context(what))
            }
            None => evaluated.map(|()| outcome),
        }
    }

    /// Keeps the weights of a model that could not be saved, and says where, and what went wrong before.
    fn unsaved(
        &self,
        error: Error,
        failure: Option<QatError>,
        outcome: &mut StageOutcome,
        name: &str,
    ) -> Error {
        let logs = self.logs(name);
        let kept = match outcome.keep_record(&logs) {
            Ok(path) => format!("its weights are kept in {} (a Burn record)", path.display()),
            Err(error) => format!("nor could its weights be kept: {error}"),
        };
        let error = error.context(format!("the model was not saved; {kept}"));
        match failure {
            Some(failure) => error.context(failure.to_string()),
            None => error,
        }
    }

    /// Where a stage logs and keeps its states.
    pub(crate) fn logs(&self, name: &str) -> PathBuf {
        self.out().join("logs").join(directory(name))
    }

    pub(crate) fn save_bf16(&self, dir: &str, model: &GptOss) -> Result<PathBuf> {
        let dir = self.out().join(dir);
        let bar = Bar::new("saving BF16");
        CheckpointWriter::new(CheckpointForm::Bf16)
            .with_source(&self.source)
            .save(model, &dir, |p| bar.checkpoint(&p))?;
        bar.finish();
        Ok(dir)
    }

    pub(crate) fn export(&self, dir: &str, model: &GptOss) -> Result<PathBuf> {
        let dir = self.out().join(dir);
        let bar = Bar::new("exporting MXFP4");
        let report = export_mxfp4(model, &dir, &self.source, false, |p| bar.checkpoint(&p))?;
        bar.finish();
        say(format_args!(
            "exported {}: {} quantized weights read back, all bits equal to the trained ones",
            dir.display(),
            report.verified_weights
        ));
        Ok(dir)
    }

    pub(crate) fn plot(&self, stages: &[(&str, usize, &History)]) -> Result<()> {
        let name = self.names().ptq;
        let ptq = self.table.row(name).map(|row| (name, row.report.loss.loss));
        output::write_plot(self.out(), stages, ptq)
    }
}

/// The directory of a stage's model.
pub(crate) fn directory(name: &str) -> &'static str {
    match name {
        SFT => "sft",
        QAT => "sft_qat",
        LORA_SFT => "lora_sft",
        LORA_QAT => "lora_qat",
        _ => "sft_longer",
    }
}
