//! The figures of a dataset as lines.

use burn_qat_train::{DataStatistics, DatasetSettings};

/// Bars of the histogram.
pub const BARS: usize = 12;
const WIDEST: usize = 40;

/// Names and values, one row each.
pub fn table(
    statistics: &DataStatistics,
    settings: &DatasetSettings,
) -> Vec<(&'static str, String)> {
    let n = statistics.lengths.len();
    let tokens = statistics.n_tokens();
    let (n_cut, behind) = statistics.cut;
    vec![
        ("conversations", n.to_string()),
        ("tokens", tokens.to_string()),
        (
            "trained",
            format!(
                "{} ({:.1} %)",
                statistics.n_trained,
                percent(statistics.n_trained, tokens)
            ),
        ),
        (
            "tokens each",
            format!(
                "median {}, 95 % up to {}, longest {}",
                statistics.quantile(0.5),
                statistics.quantile(0.95),
                statistics.quantile(1.0)
            ),
        ),
        (
            "cut",
            format!(
                "{n_cut} ({:.1} %) at {} tokens, {:.1} % of all tokens",
                percent(n_cut, n),
                settings.max_length,
                percent(behind, tokens)
            ),
        ),
        ("copies", statistics.n_duplicates.to_string()),
        ("languages", shares(&statistics.languages)),
        ("of reasoning", shares(&statistics.reasoning_languages)),
    ]
}

fn shares(languages: &[(String, usize)]) -> String {
    let n = languages.iter().map(|(_, count)| count).sum();
    let shares = languages.iter().take(8);
    let shares: Vec<String> = shares
        .map(|(name, count)| format!("{name} {:.0} %", percent(*count, n)))
        .collect();
    match shares.is_empty() {
        true => "none".to_owned(),
        false => shares.join(", "),
    }
}

pub fn text(statistics: &DataStatistics, settings: &DatasetSettings) -> String {
    let rows = table(statistics, settings);
    let mut lines: Vec<String> = rows
        .iter()
        .map(|(name, value)| format!("{name:14} {value}"))
        .collect();
    let histogram = statistics.histogram(BARS);
    let most = histogram
        .iter()
        .map(|(_, count)| *count)
        .max()
        .unwrap_or(1)
        .max(1);
    lines.push("lengths".to_owned());
    for (range, count) in histogram {
        // Few are not none.
        let bar = (count * WIDEST).div_ceil(most);
        let range = format!("{}-{}", range.start(), range.end());
        lines.push(format!("{range:>14} {:WIDEST$} {count}", "█".repeat(bar)));
    }
    lines.join("\n")
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
