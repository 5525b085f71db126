//! What a stage with adapters writes and tells beside its model.

use std::path::PathBuf;

use anyhow::Result;
use burn_gpt_oss::{AdapterCheckpoint, AdapterDialect, AdapterRounding, CheckpointReader, GptOss};
use burn_qat_train::{LogitDifference, MergeReport};

use crate::run::Run;
use crate::settings::StagePlan;
use crate::terminal::say;

impl Run {
    /// Writes the factors as PEFT does, with the rounding that they were trained with, and the step from which on.
    pub fn save_adapter(&self, plan: &StagePlan, start: usize, model: &GptOss) -> Result<()> {
        let dir = self.adapter_dir(plan);
        let Some(lora) = &self.settings.recipe.lora else {
            return Ok(());
        };
        let mut settings = lora.settings(&self.original.display().to_string());
        let mut weights = model.expert_weights();
        let scheme = weights.find_map(|(_, weight)| weight.adapter()?.scheme());
        settings.rounding = scheme.map(|scheme| AdapterRounding {
            scheme: scheme.to_string(),
            start_step: start,
        });
        let adapter = AdapterCheckpoint::of(model, settings)?;
        adapter.save(&dir, model.config(), AdapterDialect::Peft, false)?;
        say(format_args!("adapter {} (PEFT)", dir.display()));
        Ok(())
    }

    /// Where the factors of a stage are written.
    pub fn adapter_dir(&self, plan: &StagePlan) -> PathBuf {
        self.out().join(plan.adapter_name())
    }

    /// What the merge of a QAT stage changed, and how far its export is from the model that was trained.
    pub fn tell_merge(&self, plan: &StagePlan, trained: &GptOss) -> Result<()> {
        say(format_args!("\n{}\n", MergeReport::new(trained)?));
        let Some(example) = self.data.valid.first() else {
            return Ok(());
        };
        let exported = CheckpointReader::open(self.out().join(&plan.name))?;
        let exported =
            exported.load_stored(&self.device, plan.config.element_types.master, |_| {})?;
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
}
