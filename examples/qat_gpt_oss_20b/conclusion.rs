//! The last lines of a run: the table and what it says.

use std::path::Path;

use burn_qat_train::ResultTable;

use crate::run::{Names, ORIGINAL};
use crate::terminal::say;

/// Prints the table, what it says, and where the results are.
pub fn print(table: &ResultTable, names: Names, out: &Path, vocab_size: usize) {
    if table.rows.is_empty() {
        return;
    }
    say(format_args!("\n{}\n", table.to_markdown()));
    if let Some(cost) = cost_of_rounding(table, names) {
        say(cost);
    }
    let warning = warning(table, names, vocab_size);
    if let Some(warning) = &warning {
        say(warning);
    }
    say(format_args!(
        "results  {}",
        out.join("results.md").display()
    ));
    if out.join("loss.svg").exists() {
        say(format_args!("curves   {}", out.join("loss.svg").display()));
    }
    if let Some(row) = table.row(names.qat) {
        let readiness = match warning {
            Some(_) => "MXFP4; see the warning above",
            None => "MXFP4, ready to serve",
        };
        say(format_args!("model    {} ({readiness})", row.dir.display()));
    }
}

fn cost_of_rounding(table: &ResultTable, Names { sft, ptq, qat }: Names) -> Option<String> {
    let (gap, noise) = (table.ptq_gap(sft, ptq)?, table.gap_noise(sft, ptq)?);
    table.row(qat)?;
    Some(match table.recovered(sft, ptq, qat) {
        Some(recovered) => format!(
            "Quantizing after SFT costs {gap:.4} nats of validation loss; QAT wins back {:.0} % of it.",
            recovered * 100.0
        ),
        None if gap < -noise => format!(
            "Quantizing after SFT costs nothing here, the validation loss is {:.4} nats lower: there is \
             nothing to win back.",
            -gap
        ),
        None => format!(
            "Quantizing after SFT costs nothing measurable here ({gap:+.4} nats, less than {noise:.4} is \
             noise): there is nothing to win back."
        ),
    })
}

/// What is wrong with the trained models, if something is.
fn warning(table: &ResultTable, names: Names, vocab_size: usize) -> Option<String> {
    let original = table.row(ORIGINAL)?.report.loss.loss;
    let last = table.row(names.qat).or(table.row(names.sft))?;
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
