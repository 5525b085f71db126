//! The run on one page.

use anyhow::Result;
use burn_qat_train::{History, HtmlReport};

use crate::conclusion;
use crate::output::{RECIPE, RUN, write};
use crate::run::Run;

/// The name of the page.
pub const PAGE: &str = "report.html";

impl Run {
    /// Writes what is known so far: rows, curves, answers and the recipe.
    pub fn write_page(&self) -> Result<()> {
        let read = |name: &str| std::fs::read_to_string(self.out().join(name)).ok();
        let (plot, recipe, run) = (read("loss.svg"), read(RECIPE), read(RUN));
        let sentences = conclusion::sentences(&self.table, &self.settings);
        let mut details = Vec::new();
        for (heading, text) in [
            ("The recipe, all values decided", &recipe),
            ("How it was run", &run),
        ] {
            if let Some(text) = text {
                details.push((heading, text.as_str()));
            }
        }
        let quantization: Vec<_> = self
            .settings
            .stages
            .iter()
            .filter_map(|plan| {
                // A stage that has not begun has no log.
                let log = self.logs(plan).join("metrics.jsonl");
                let history = History::from_jsonl(&log).ok()?;
                Some((plan.title.clone(), history.quantization))
            })
            .filter(|(_, points)| !points.is_empty())
            .collect();
        let report = HtmlReport {
            title: "Fine-tuning for FP4",
            sentences: &sentences,
            table: &self.table,
            plot: plot.as_deref(),
            quantization: &quantization,
            details: &details,
        };
        write(&self.out().join(PAGE), &report.to_html())
    }
}
