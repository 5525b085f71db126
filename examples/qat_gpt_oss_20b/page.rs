//! The run on one page.

use anyhow::Result;
use burn_qat_train::HtmlReport;

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
        let report = HtmlReport {
            title: "Fine-tuning for FP4",
            sentences: &sentences,
            table: &self.table,
            plot: plot.as_deref(),
            details: &details,
        };
        write(&self.out().join(PAGE), &report.to_html())
    }
}
