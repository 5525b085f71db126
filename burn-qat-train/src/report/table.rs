use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use crate::evaluate::EvalReport;
use crate::memory::gigabytes;

/// One evaluated checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// Name, as `SFT + QAT`.
    pub name: String,
    /// Optimizer steps behind it, those of the original model excluded.
    pub steps: usize,
    /// The evaluated directory; in JSON as it is displayed, since a path need not be UTF-8.
    #[serde(serialize_with = "displayed")]
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

    /// The noise of [`ptq_gap`](Self::ptq_gap), in nats: a gap that does not exceed it may be chance. It is
    /// the larger of two standard errors of the difference between the two rows, on the same batches, and
    /// 0.2 % of the loss of `sft`, because runs that differ only in their seed differ by about as much. The
    /// share is 1 % if there are fewer than eight batches, which give a poor standard error, or no standard
    /// error.
    pub fn gap_noise(&self, sft: &str, ptq: &str) -> Option<f64> {
        const ENOUGH: usize = 8;
        let (sft, ptq) = (&self.row(sft)?.report.loss, &self.row(ptq)?.report.loss);
        let error = sft.standard_error_of_difference(ptq);
        let share = match error {
            Some(_) if sft.batches.len() >= ENOUGH => 0.002,
            _ => 0.01,
        };
        Some((2.0 * error.unwrap_or(0.0)).max(share * sft.loss))
    }

    /// The share of the gap that `qat` wins back; above 1 if it ends below `sft`,
    /// `None` where the gap is no more than noise.
    pub fn recovered(&self, sft: &str, ptq: &str, qat: &str) -> Option<f64> {
        let won = self.row(ptq)?.report.loss.loss - self.row(qat)?.report.loss.loss;
        let gap = self.ptq_gap(sft, ptq)?;
        (gap > self.gap_noise(sft, ptq)?).then(|| won / gap)
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

fn displayed<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::{LossReport, PassRate};
    use burn_gpt_oss::CheckpointForm;

    fn row(name: &str, loss: f64) -> ResultRow {
        ResultRow {
            name: name.into(),
            steps: 1,
            dir: name.into(),
            report: EvalReport {
                loss: LossReport {
                    loss,
                    perplexity: loss.exp(),
                    n_targets: 200,
                    // Batches that differ by 0.01 from each other.
                    batches: vec![((loss - 0.01) * 100.0, 100), ((loss + 0.01) * 100.0, 100)],
                },
                pass_rate: PassRate::new(1, 2),
                form: CheckpointForm::Mxfp4,
                bytes_on_disk: 1,
                samples: Vec::new(),
                answers: Vec::new(),
            },
        }
    }

    fn recovered(sft: f64, ptq: f64, qat: f64) -> Option<f64> {
        let rows = vec![row("sft", sft), row("ptq", ptq), row("qat", qat)];
        ResultTable { rows }.recovered("sft", "ptq", "qat")
    }

    #[test]
    fn a_gap_within_the_noise_is_no_gap() {
        let share = recovered(0.076, 0.212, 0.074).expect("a gap");
        assert!((share - 138.0 / 136.0).abs() < 1e-9, "{share}");
        // "1843 %" of 0.0003 nats.
        assert_eq!(recovered(0.0760, 0.0763, 0.0710), None);
        assert_eq!(recovered(0.0760, 0.0755, 0.0710), None);
    }

    #[cfg(unix)]
    #[test]
    fn paths_that_are_no_text_are_displayed() {
        use std::os::unix::ffi::OsStrExt;
        let dir = std::ffi::OsStr::from_bytes(b"run\xff");
        let row = ResultRow {
            dir: dir.into(),
            ..row("sft", 1.0)
        };
        let json = serde_json::to_value(&row).expect("any path");
        assert_eq!(json["dir"], "run\u{fffd}");
    }
}
