//! One page for the terminal.

use burn_gpt_oss::{Comparison, Severity, ValidationReport, Verdict, WeightContent};

use crate::terminal::visible;

/// Findings of a kind that are listed, and reasons of an engine.
const LISTED: usize = 8;

pub fn text(report: &ValidationReport, colour: bool) -> String {
    let paint = Paint(colour);
    let mut lines = vec![format!(
        "{}  {}  {} tensors, {:.2} GB",
        visible(&report.path.display().to_string()),
        report.form.as_deref().unwrap_or("cannot be read"),
        report.tensors,
        report.bytes as f64 / 1e9
    )];
    if let Some(content) = &report.content {
        lines.extend(of_content(content));
    }
    if let Some(comparison) = &report.comparison {
        lines.extend(of_comparison(comparison, &paint));
    }
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        let found = report
            .findings
            .iter()
            .filter(|finding| finding.severity == severity);
        let found: Vec<_> = found.collect();
        for finding in found.iter().take(LISTED) {
            let word = match severity {
                Severity::Error => paint.red("error"),
                Severity::Warning => paint.yellow("warning"),
                Severity::Note => "note".into(),
            };
            let text = format!("{}: {}", finding.subject, finding.message);
            lines.push(format!("{word}: {}", visible(&text)));
        }
        if let Some(more @ 1..) = found.len().checked_sub(LISTED) {
            lines.push(format!("... and {more} more; --json lists all"));
        }
    }
    lines.push(String::new());
    for verdict in &report.engines {
        let word = match verdict.verdict {
            Verdict::Loads => paint.green("loads"),
            Verdict::Depends => paint.yellow("some revisions load it"),
            Verdict::Differs => paint.yellow("loads, but computes something else"),
            Verdict::Noise => paint.red("loads without an error, and answers with noise"),
            Verdict::Refuses => paint.red("refuses"),
        };
        let name = format!("{} {}", verdict.engine.name(), verdict.version);
        lines.push(format!("{name:<38} {word}"));
        for reason in verdict.reasons.iter().take(LISTED) {
            lines.push(visible(&format!("    {reason}")));
        }
        if let Some(more @ 1..) = verdict.reasons.len().checked_sub(LISTED) {
            lines.push(format!("    ... and {more} more; --json lists all"));
        }
    }
    lines.push(String::new());
    lines.push(match report.is_sound() {
        true => paint.green("sound"),
        false => paint.red("NOT sound"),
    });
    lines.join("\n")
}

fn of_content(content: &WeightContent) -> Option<String> {
    let n = content.matrices.len();
    let zeros = content
        .matrices
        .iter()
        .map(|matrix| matrix.zeros)
        .sum::<f64>()
        / n.max(1) as f64;
    let limit = content.at_limit().map_or(String::new(), |share| {
        format!(
            ", {:.2} % have the largest magnitude of their scale",
            100.0 * share
        )
    });
    (n > 0).then(|| {
        format!(
            "{n} matrices of experts: {:.2} % of weights are zero{limit}",
            100.0 * zeros
        )
    })
}

fn of_comparison(comparison: &Comparison, paint: &Paint) -> Vec<String> {
    let Comparison {
        against,
        parameters,
        weights,
        different,
        differing,
        missing,
        keys,
    } = comparison;
    if comparison.is_equal() {
        let equal = format!(
            "all {weights} weights of {parameters} parameters equal those of {against}, bit for bit"
        );
        return vec![paint.green(&visible(&equal))];
    }
    let head = format!("{different} of {weights} weights differ from {against}");
    let mut lines = vec![paint.red(&visible(&head))];
    for difference in differing.iter().take(LISTED) {
        lines.push(format!(
            "    {}: {} weights, the first at {}",
            difference.parameter, difference.weights, difference.first
        ));
    }
    for path in missing.iter().take(LISTED) {
        lines.push(visible(&format!("    only one of the two has {path}")));
    }
    if !keys.is_empty() {
        lines.push(visible(&format!(
            "    other configuration: {}",
            keys.join(", ")
        )));
    }
    lines
}

struct Paint(bool);

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        match self.0 {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    fn red(&self, text: &str) -> String {
        self.with("31", text)
    }

    fn yellow(&self, text: &str) -> String {
        self.with("33", text)
    }

    fn green(&self, text: &str) -> String {
        self.with("32", text)
    }
}
