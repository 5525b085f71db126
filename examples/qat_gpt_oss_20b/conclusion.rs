//! The last lines of a run: the table and what it says.

use std::path::Path;

use burn_gpt_oss::CheckpointForm;
use burn_qat_train::{ResultRow, ResultTable};

use crate::page::PAGE;
use crate::run::ORIGINAL;
use crate::settings::{Comparison, Settings};
use crate::terminal::say;

/// Prints the table, what it says, and where the results are.
pub fn print(table: &ResultTable, settings: &Settings, out: &Path, vocab_size: usize) {
    if table.rows.is_empty() {
        return;
    }
    say(format_args!("\n{}\n", table.to_markdown()));
    for sentence in sentences(table, settings) {
        say(sentence);
    }
    let last = last_trained(table, settings);
    let warning = last.and_then(|last| warning(table, last, vocab_size));
    if let Some(warning) = &warning {
        say(warning);
    }
    say(format_args!(
        "results  {}",
        out.join("results.md").display()
    ));
    if out.join(PAGE).exists() {
        say(format_args!("report   {}", out.join(PAGE).display()));
    }
    if out.join("loss.svg").exists() {
        say(format_args!("curves   {}", out.join("loss.svg").display()));
    }
    let rounded = settings.stages.iter().filter(|stage| stage.is_qat());
    for row in rounded.filter_map(|stage| table.row(&stage.title)) {
        let readiness = match (&warning, row.report.form) {
            (Some(_), _) => "see the warning above",
            (None, CheckpointForm::Nvfp4 | CheckpointForm::Nvfp4W4A4) => {
                "as ModelOpt writes it; no engine is known to serve it"
            }
            (None, _) => "ready to serve",
        };
        say(format_args!(
            "model    {} ({}, {readiness})",
            row.dir.display(),
            row.report.form
        ));
    }
}

/// What rounding costs, and what each QAT stage wins back of it.
pub fn sentences(table: &ResultTable, settings: &Settings) -> Vec<String> {
    let comparisons = settings.comparisons();
    let costs = comparisons.iter().map(|rows| cost_of_rounding(table, rows));
    costs.flatten().collect()
}

fn cost_of_rounding(table: &ResultTable, rows: &Comparison) -> Option<String> {
    let Comparison { before, ptq, qat } = rows;
    let (gap, noise) = (table.ptq_gap(before, ptq)?, table.gap_noise(before, ptq)?);
    table.row(qat)?;
    Some(match table.recovered(before, ptq, qat) {
        Some(recovered) => format!(
            "Rounding {before} costs {gap:.4} nats of validation loss; {qat} wins back {:.0} % of it.",
            recovered * 100.0
        ),
        None if gap < -noise => format!(
            "Rounding {before} costs nothing here, the validation loss is {:.4} nats lower: there is \
             nothing to win back.",
            -gap
        ),
        None => format!(
            "Rounding {before} costs nothing measurable here ({gap:+.4} nats, less than {noise:.4} is \
             noise): there is nothing to win back."
        ),
    })
}

/// The row of the last QAT stage that there is, or of the first stage.
fn last_trained<'a>(table: &'a ResultTable, settings: &Settings) -> Option<&'a ResultRow> {
    let rounded = settings.stages.iter().filter(|stage| stage.is_qat());
    let mut rows = rounded.filter_map(|stage| table.row(&stage.title));
    let first = settings.stages.first();
    rows.next_back().or_else(|| table.row(&first?.title))
}

/// What is wrong with a trained model, if something is.
fn warning(table: &ResultTable, last: &ResultRow, vocab_size: usize) -> Option<String> {
    let original = table.row(ORIGINAL)?.report.loss.loss;
    let (name, loss) = (&last.name, last.report.loss.loss);
    // As good as guessing among all tokens.
    let chance = (vocab_size as f64).ln();
    if loss > original && loss > 0.9 * chance {
        return Some(format!(
            "WARNING: {name} has a validation loss of {loss:.4}, and guessing has {chance:.4}: the model was \
             destroyed. Lower the learning rate or check the data; do not serve it."
        ));
    }
    (loss > original).then(|| {
        format!(
            "WARNING: {name} ended worse than it began, {loss:.4} instead of {original:.4}. Lower the learning \
             rate or check the data."
        )
    })
}
