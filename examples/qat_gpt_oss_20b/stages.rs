//! The stages of a recipe, one after the other.

use std::path::Path;

use anyhow::Result;
use burn_gpt_oss::{CheckpointForm, CheckpointWriter, GptOss};
use burn_qat_train::{
    AdapterTable, PtqMethod, QuantPolicy, calibrate_activations, export_fp4, gptq, insert_adapters,
    insert_quantizers, insert_quantizers_with, round_adapters,
};

use crate::console::Bar;
use crate::curves::{StageCurve, write_plot};
use crate::run::{ORIGINAL, Run, print_quantized};
use crate::settings::StagePlan;
use crate::stage::Trained;
use crate::terminal::say;

/// A stage that is done, for those that go on from it.
struct Done {
    name: String,
    model: GptOss,
    /// Optimizer steps behind the model, those of earlier stages included.
    steps: usize,
}

impl Run {
    /// All stages. Returns early, with what was reached, when the run is to stop. What a stage learned is
    /// saved before an error of it is returned.
    pub fn stages(&mut self) -> Result<()> {
        if self.is_complete()? {
            for plan in &self.settings.stages {
                if self.write_forms(plan)?.is_break() {
                    return Ok(());
                }
            }
            say("nothing is left to do: all stages are complete");
            return self.discard_kept();
        }
        let original = self.original.clone();
        self.evaluate(ORIGINAL, 0, &original)?;
        if self.cancel.pressed() {
            say("stopped before the first optimizer step: nothing was trained");
            return Ok(());
        }
        let (mut done, mut curves): (Vec<Done>, Vec<StageCurve>) = (Vec::new(), Vec::new());
        for (index, plan) in self.settings.stages.clone().iter().enumerate() {
            let Some((start, model)) = self.beginning(plan, index, &mut done)? else {
                return Ok(());
            };
            let Some(trained) = self.stage(plan, (index, start), model)? else {
                return Ok(());
            };
            curves.push(StageCurve {
                title: plan.title.clone(),
                start,
                history: trained.history.clone(),
            });
            self.plot(&curves)?;
            if self.cancel.pressed() || self.write_forms(plan)?.is_break() {
                return Ok(());
            }
            let steps = start + trained.best_step;
            for method in plan.ptq.iter() {
                self.round(plan, method, &trained, steps)?;
                self.plot(&curves)?;
                if self.cancel.pressed() {
                    return Ok(());
                }
            }
            if self.settings.is_needed_after(&plan.name, index) {
                done.push(Done {
                    name: plan.name.clone(),
                    model: trained.model,
                    steps,
                });
            }
        }
        self.discard_kept()
    }

    /// The steps before a stage, and the model that it begins with: loaded, or what an earlier stage ended with. None if
    /// the run is to stop.
    fn beginning(
        &self,
        plan: &StagePlan,
        index: usize,
        done: &mut Vec<Done>,
    ) -> Result<Option<(usize, GptOss)>> {
        let from = plan.from.as_deref();
        let (steps, model) = match done
            .iter()
            .position(|done| Some(done.name.as_str()) == from)
        {
            // Its weights change now: those of before take memory of their own while they are needed.
            Some(at) if self.settings.is_needed_after(&done[at].name, index) => {
                (done[at].steps, done[at].model.clone())
            }
            Some(at) => {
                let done = done.remove(at);
                (done.steps, done.model)
            }
            None => (0, self.load()?),
        };
        if !plan.is_qat() || self.is_rounded(plan) {
            return Ok(Some((steps, model)));
        }
        let Some(model) = self.with_rounded_inputs(&plan.title, &plan.policy, model)? else {
            return Ok(None);
        };
        Ok(Some((steps, self.rounded(plan, model)?)))
    }

    /// Whether a stage goes on from weights that are rounded already.
    fn is_rounded(&self, plan: &StagePlan) -> bool {
        let mut stages = self.settings.stages.iter();
        stages.any(|stage| Some(&stage.name) == plan.from.as_ref() && stage.is_qat())
    }

    /// The model of the run; with adapters the base stays in its file.
    fn load(&self) -> Result<GptOss> {
        let bar = Bar::new("loading");
        let master = self.settings.stages[0].config.element_types.master;
        let Some(lora) = &self.settings.recipe.lora else {
            let model = self
                .source
                .load(&self.device, master, |p| bar.checkpoint(&p))?;
            bar.finish();
            return Ok(unrounded_inputs(model));
        };
        let base = self
            .source
            .load_stored(&self.device, master, |p| bar.checkpoint(&p))?;
        bar.finish();
        let (model, adapted) = insert_adapters(unrounded_inputs(base), lora)?;
        say(format_args!(
            "\nadapters of rank {} on {} weights:\n{}\n",
            lora.rank,
            adapted.len(),
            AdapterTable::new(&adapted)
        ));
        Ok(model)
    }

    /// The model as it lies in its file, without adapters.
    pub fn base(&self) -> Result<GptOss> {
        let master = self.settings.stages[0].config.element_types.master;
        let base = self.source.load_stored(&self.device, master, |_| {})?;
        Ok(base.without_activation_quantizers())
    }

    /// Quantizers on the weights, or on the sums of weights and adapters, that train rounded.
    fn rounded(&self, plan: &StagePlan, model: GptOss) -> Result<GptOss> {
        let policy = &plan.policy;
        if self.settings.recipe.lora.is_none() {
            let (model, quantized) = insert_quantizers_with(model, policy, plan.quantizers)?;
            print_quantized(&policy.name, &quantized);
            return Ok(model);
        }
        let (model, adapted) = round_adapters(model, policy)?;
        let rounded = adapted.iter().filter(|weight| weight.scheme.is_some());
        say(format_args!(
            "\nrounded by {}: {} sums of a weight and its adapter, of {} adapted weights\n",
            policy.name,
            rounded.count(),
            adapted.len()
        ));
        Ok(model)
    }

    /// The same without training.
    fn quantized(&self, policy: &QuantPolicy, model: GptOss) -> Result<GptOss> {
        Ok(match self.settings.recipe.lora {
            None => insert_quantizers(model, policy)?.0,
            Some(_) => round_adapters(model, policy)?.0,
        })
    }

    /// What rounding without training leaves of a stage: exported and evaluated.
    fn round(
        &mut self,
        plan: &StagePlan,
        method: PtqMethod,
        trained: &Trained,
        steps: usize,
    ) -> Result<()> {
        let (title, dir) = (
            plan.ptq_title(method),
            self.out().join(plan.ptq_name(method)),
        );
        if self.table.row(&title).is_some() {
            return Ok(());
        }
        if self.resumes {
            self.forget(&title, std::slice::from_ref(&dir))?;
        }
        let policy = method.policy(&plan.policy);
        let model = self.with_rounded_inputs(&title, &policy, trained.model.clone())?;
        let Some(model) = model else { return Ok(()) };
        let rounded = match method {
            PtqMethod::Gptq => self.calibrated(&title, &policy, model)?,
            PtqMethod::Nearest | PtqMethod::Mse => Some(self.quantized(&policy, model)?),
        };
        let Some(rounded) = rounded else {
            return Ok(());
        };
        self.export(&dir, &rounded)?;
        self.evaluate(&title, steps, &dir)
    }

    /// The model with the quantizers on inputs that a policy asks for; none if the run is to stop.
    fn with_rounded_inputs(
        &self,
        title: &str,
        policy: &QuantPolicy,
        model: GptOss,
    ) -> Result<Option<GptOss>> {
        let Some(format) = policy.inputs else {
            return Ok(Some(model));
        };
        let bar = Bar::new(&format!("{title}: calibrating"));
        let rows = &self.data.calibration;
        let model = calibrate_activations(model, format, rows, |row| {
            bar.rows(row, rows.len());
            self.cancel.flow()
        })?;
        let seconds = bar.finish();
        if let Some(model) = &model {
            say(format_args!(
                "{title}: inputs of {} matrices calibrated on {} conversations ({seconds:.0} s)",
                model.activation_quantizers().count(),
                rows.len()
            ));
        }
        Ok(model)
    }

    /// The model as GPTQ rounds it; none if the run is to stop.
    fn calibrated(
        &self,
        title: &str,
        policy: &QuantPolicy,
        model: GptOss,
    ) -> Result<Option<GptOss>> {
        let bar = Bar::new(title);
        let n_layers = model.config().num_hidden_layers;
        let rounded = gptq(model, policy, &self.data.calibration, |layer| {
            bar.layers(layer, n_layers);
            self.cancel.flow()
        })?;
        let seconds = bar.finish();
        if rounded.is_some() {
            say(format_args!(
                "{title}: {n_layers} layers rounded on {} conversations ({seconds:.0} s)",
                self.data.calibration.len()
            ));
        }
        Ok(rounded)
    }

    pub fn save_bf16(&self, dir: &Path, model: &GptOss) -> Result<()> {
        let bar = Bar::new("saving BF16");
        CheckpointWriter::new(CheckpointForm::Bf16)
            .with_source(&self.source)
            .save(model, dir, |p| bar.checkpoint(&p))?;
        bar.finish();
        Ok(())
    }

    pub fn export(&self, dir: &Path, model: &GptOss) -> Result<()> {
        let bar = Bar::new("exporting FP4");
        let report = export_fp4(model, dir, &self.source, false, |p| bar.checkpoint(&p))?;
        bar.finish();
        say(format_args!(
            "exported {}: {} quantized weights read back, all bits equal to the trained ones",
            dir.display(),
            report.verified_weights
        ));
        Ok(())
    }

    fn plot(&self, curves: &[StageCurve]) -> Result<()> {
        let rows = self.settings.comparisons();
        let row = rows.first().and_then(|rows| self.table.row(&rows.ptq));
        let ptq = row.map(|row| (row.name.as_str(), row.report.loss.loss));
        write_plot(self.out(), curves, ptq)
    }
}

/// A model whose inputs are rounded by the stages that calibrate them, whatever its checkpoint says.
fn unrounded_inputs(model: GptOss) -> GptOss {
    if model.activation_quantizers().next().is_some() {
        say(
            "the checkpoint rounds the inputs of its experts (W4A4); stages that do so calibrate them anew",
        );
    }
    model.without_activation_quantizers()
}
