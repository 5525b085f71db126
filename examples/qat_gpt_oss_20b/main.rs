//! The whole recipe in one command: MXFP4 checkpoint in, SFT, PTQ for comparison, QAT, MXFP4 checkpoint
//! out, and a table of what it bought. See `--help`.

mod adapters;
mod allocator;
mod args;
mod cards;
mod checks;
mod conclusion;
mod console;
mod curves;
#[path = "../tiny/dataset.rs"]
mod dataset;
#[path = "../support/device.rs"]
mod device;
mod dry_run;
#[path = "../tiny/embedded.rs"]
mod embedded;
mod files;
mod forms;
mod input;
mod options;
mod output;
mod page;
mod recipe;
mod resume;
mod run;
mod settings;
mod stage;
mod stages;
#[path = "../support/terminal.rs"]
mod terminal;
mod timestamp;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use terminal::say;

#[global_allocator]
static ALLOCATOR: allocator::Counted = allocator::Counted;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match recipe(&args) {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::from(130),
        Err(error) => {
            terminal::fail(&error);
            ExitCode::FAILURE
        }
    }
}

/// Runs the recipe; true if Ctrl-C or another signal ended it early.
fn recipe(args: &args::Args) -> Result<bool> {
    let recipe = options::recipe(args)?;
    let is_large = recipe.lora.is_some() && recipe.model.is_some();
    if is_large || recipe.stages.iter().any(|(_, stage)| stage.layer_wise) {
        allocator::give_memory_back()?;
    }
    if recipe.model.is_none() {
        say(
            "This is the embedded tiny gpt-oss. For the real one: cargo run --example qat_gpt_oss_20b \
             -- --model DIR --data FILE.jsonl (see docs/checkpoints.md and docs/data.md)\n",
        );
    }
    let cancel = console::Cancel::install()?;
    let Some(mut run) = run::Run::prepare(args, recipe, cancel.clone())? else {
        return Ok(false);
    };
    run.announce();
    let ended = run.stages();
    // What there is of a run that failed is shown, too; its error counts more than one of the page.
    let page = run.write_page().and_then(|()| run.write_cards());
    run.conclude();
    run.tell_memory();
    ended?;
    page?;
    if cancel.pressed() {
        say("stopped by a signal; the rows above are what was reached");
    }
    if let Some(failure) = terminal::stdout_failure() {
        let results = run.out().join("results.md");
        bail!(
            "standard output: {failure}; the results are in {}",
            results.display()
        );
    }
    Ok(cancel.pressed())
}
