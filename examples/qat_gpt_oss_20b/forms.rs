//! What a stage exported, in the forms of other programs.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::{Context, Result};
use burn_gpt_oss::{CheckpointReader, ConvertTarget, Converter, GptOssError};

use crate::console::Bar;
use crate::run::Run;
use crate::settings::StagePlan;
use crate::terminal::{say, warn};

impl Run {
    /// Writes the forms that the recipe asks for, of a stage whose weights are rounded, unless they are there. Breaks if
    /// the run is to stop.
    pub fn write_forms(&self, plan: &StagePlan) -> Result<ControlFlow<()>> {
        let source = self.out().join(&plan.name);
        for (form, dir) in self.forms(plan) {
            if dir.exists() {
                continue;
            }
            let source = CheckpointReader::open(&source)?;
            let bar = Bar::new(&format!("writing {form}"));
            let converter = Converter::new(&source, form);
            let written = converter.run(&dir, |progress| {
                bar.checkpoint(&progress);
                self.cancel.flow()
            });
            bar.finish();
            match written {
                Err(GptOssError::Interrupted { .. }) => return Ok(ControlFlow::Break(())),
                written => written.with_context(|| dir.display().to_string())?,
            };
            say(format_args!(
                "{}: written as {form}, {}",
                plan.title,
                dir.display()
            ));
            if let Some(warning) = form.warning() {
                warn(format_args!("{form}: {warning}"));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The directories of these forms.
    pub fn form_dirs(&self, plan: &StagePlan) -> impl Iterator<Item = PathBuf> {
        self.forms(plan).into_iter().map(|(_, dir)| dir)
    }

    /// No name of a stage has a hyphen.
    fn forms(&self, plan: &StagePlan) -> Vec<(ConvertTarget, PathBuf)> {
        let dir = |form: &ConvertTarget| self.out().join(format!("{}-{form}", plan.name));
        let forms = self.settings.recipe.export.iter();
        let forms = forms.filter(|_| plan.is_qat());
        forms.map(|form| (*form, dir(form))).collect()
    }
}
