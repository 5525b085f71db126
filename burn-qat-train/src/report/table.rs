use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::evaluate::EvalReport;
use crate::memory::gigabytes;

/// One evaluated checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// Name, as `SFT + QAT`.
    pub name: String,
    /// Optimizer steps behind it, those of the original model excluded.
    pub steps: usize,
    /// The evaluated directory.
    pub dir: PathBuf,
    /// Its figures.
    #[serde(flatten)]
    pub report: EvalReport,
}

/// The table of the published experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResultTable {
    /// The rows, in order.
    pub rows: Vec<ResultRow>,
}

impl ResultTable {
    /// The row of a name.
    pub fn row(&self, name: &str) -> Option<&ResultRow> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// What quantizing after training costs: the loss of `ptq` minus that of `sft`, in nats.
    pub fn ptq_gap(&self, sft: &str, ptq: &str) -> Option<f64> {
        Some(self.row(ptq)?.report.loss.loss - self.row(sft)?.report.loss.loss)
    }

    /// The share of the gap that `qat` wins back; above 1 if it ends below `sft`,
    /// `None` where there is no gap.
    pub fn recovered(&self, sft: &str, ptq: &str, qat: &str) -> Option<f64> {
        let won = self.row(ptq)?.report.loss.loss - self.row(qat)?.report.loss.loss;
        let gap = self.ptq_gap(sft, ptq)?;
        (gap > 0.0).then(|| won / gap)
    }

    /// A Markdown table whose columns also line up as plain text.
    pub fn to_markdown(&self) -> String {
        let header = [
            "",
            "Steps",
            "Validation loss",
            "Perplexity",
            "Pass rate (95 % interval)",
            "On disk",
        ];
        let mut cells = vec![header.map(str::to_string)];
        cells.extend(self.rows.iter().map(|row| {
            let report = &row.report;
            [
                row.name.clone(),
                row.steps.to_string(),
                format!("{:.4}", report.loss.loss),
                format!("{:.3}", report.loss.perplexity),
                report.pass_rate.to_string(),
                format!("{} ({})", gigabytes(report.bytes_on_disk), report.form),
            ]
        }));
        let widths: Vec<usize> = (0..header.len())
            .map(|column| {
                cells
                    .iter()
                    .map(|row| row[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut lines: Vec<String> = cells.iter().map(|row| line(row, &widths)).collect();
        lines.insert(1, rule(&widths));
        lines.join("\n")
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded: Vec<String> = cells
        .iter()
        .zip(widths)
        .enumerate()
        .map(|(i, (cell, width))| match i {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        })
        .collect();
    format!("| {} |", padded.join(" | "))
}

fn rule(widths: &[usize]) -> String {
    let cells: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(i, width)| match i {
            0 => "-".repeat(*width),
            _ => format!("{}:", "-".repeat(width - 1)),
        })
        .collect();
    format!("| {} |", cells.join(" | "))
}
