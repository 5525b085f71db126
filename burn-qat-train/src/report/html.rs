//! A run on one page that needs nothing else: no network, no script.

mod quantization;

use std::fmt::Write;

use super::{ResultRow, ResultTable};
use crate::evaluate::Sample;
use crate::memory::gigabytes;
use crate::train::QuantizationPoint;

/// What a page shows.
#[derive(Clone, Copy, Debug)]
pub struct HtmlReport<'a> {
    /// The heading.
    pub title: &'a str,
    /// What the table says, in sentences.
    pub sentences: &'a [String],
    /// The rows, with answers to the same prompts.
    pub table: &'a ResultTable,
    /// The curves, as [`loss_plot`](crate::loss_plot) draws them.
    pub plot: Option<&'a str>,
    /// Stages with the quantized weights that they trained.
    pub quantization: &'a [(String, Vec<QuantizationPoint>)],
    /// Texts that are folded up, each with its heading.
    pub details: &'a [(&'a str, &'a str)],
}

const STYLE: &str = "\
:root { color-scheme: light dark; --line: #8884; --bar: #0072b2; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem; text-align: right; vertical-align: top; }
th:first-child, td:first-child, .text td { text-align: left; }
.bar { background: var(--bar); height: .5rem; border-radius: 2px; margin: .2rem 0 0 auto; }
svg { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
pre { overflow: auto; background: #8881; padding: .8rem; border-radius: 4px; }
details { margin: .6rem 0; } summary { cursor: pointer; }
.spark { width: 9rem; height: 1.6rem; background: none; } .spark polyline { fill: none; stroke: var(--bar); stroke-width: 1.5; }
.no { opacity: .65; }
";

impl HtmlReport<'_> {
    /// The page.
    pub fn to_html(&self) -> String {
        let mut page = String::new();
        let title = escaped(self.title);
        // Writing to a string does not fail.
        let _ = write!(
            page,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width\"><title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n\
             <h1>{title}</h1>\n"
        );
        for sentence in self.sentences {
            let _ = writeln!(page, "<p>{}</p>", escaped(sentence));
        }
        self.rows(&mut page);
        if let Some(plot) = self.plot {
            let _ = writeln!(page, "<h2>Loss</h2>\n{plot}");
        }
        for (stage, points) in self.quantization {
            quantization::section(&mut page, stage, points);
        }
        self.answers(&mut page);
        for (heading, text) in self.details {
            let _ = writeln!(
                page,
                "<details><summary>{}</summary><pre>{}</pre></details>",
                escaped(heading),
                escaped(text)
            );
        }
        page.push_str("</body></html>\n");
        page
    }

    fn rows(&self, page: &mut String) {
        let rows = &self.table.rows;
        let largest = rows
            .iter()
            .map(|row| row.report.loss.loss)
            .fold(0.0, f64::max);
        page.push_str(
            "<h2>Results</h2>\n<table><tr><th></th><th>steps</th><th>validation loss</th><th>pass rate</th>\
             <th>on disk</th></tr>\n",
        );
        for row in rows {
            let report = &row.report;
            let _ = writeln!(
                page,
                "<tr><td>{}</td><td>{}</td><td>{:.4}{}</td><td>{}{}</td><td>{} ({})</td></tr>",
                escaped(&row.name),
                row.steps,
                report.loss.loss,
                bar(report.loss.loss / largest),
                escaped(&report.pass_rate.to_string()),
                bar(report.pass_rate.rate()),
                gigabytes(report.bytes_on_disk),
                report.form,
            );
        }
        page.push_str("</table>\n");
    }

    /// The same prompts, answered by every row.
    fn answers(&self, page: &mut String) {
        let prompts = self.table.rows.iter().map(|row| row.report.samples.len());
        let n_prompts = prompts.max().unwrap_or(0);
        if n_prompts > 0 {
            page.push_str("<h2>Answers to held-out prompts</h2>\n");
        }
        for index in 0..n_prompts {
            let samples: Vec<(&ResultRow, &Sample)> = self
                .table
                .rows
                .iter()
                .filter_map(|row| Some((row, row.report.samples.get(index)?)))
                .collect();
            let prompt = samples.first().map_or("", |(_, sample)| &sample.prompt);
            let _ = writeln!(
                page,
                "<p><b>{}</b></p>\n<table class=\"text\">",
                escaped(prompt)
            );
            for (row, sample) in samples {
                let (class, verdict) = match sample.passed {
                    true => ("yes", "passes"),
                    false => ("no", "fails"),
                };
                let _ = writeln!(
                    page,
                    "<tr class=\"{class}\"><td>{}<br>{verdict}</td><td><i>{}</i><br>{}</td></tr>",
                    escaped(&row.name),
                    escaped(&sample.thinking),
                    escaped(&sample.content)
                );
            }
            page.push_str("</table>\n");
        }
    }
}

fn bar(share: f64) -> String {
    let percent = 100.0 * share.clamp(0.0, 1.0);
    match percent.is_finite() {
        true => format!("<div class=\"bar\" style=\"width:{percent:.1}%\"></div>"),
        false => String::new(),
    }
}

/// Text of models and data is text.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(character),
            control if control.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_text() {
        let report = HtmlReport {
            title: "<script>alert(1)</script>",
            sentences: &["a & b".into()],
            table: &ResultTable::default(),
            plot: None,
            quantization: &[],
            details: &[("\u{1b}[2J", "\"quoted\"")],
        };
        let page = report.to_html();
        assert!(
            !page.contains("<script>") && !page.contains('\u{1b}'),
            "{page}"
        );
        assert!(page.contains("a &amp; b") && page.contains("&quot;quoted&quot;"));
        assert!(!page.contains("http"), "needs the network");
    }
}
