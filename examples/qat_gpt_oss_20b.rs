//! The whole recipe in one command: MXFP4 checkpoint in, SFT, PTQ for comparison, QAT, MXFP4 checkpoint
//! out, and a table of what it bought. See `--help`.

#[path = "recipe/args.rs"]
mod args;
#[path = "recipe/console.rs"]
mod console;
#[path = "tiny/dataset.rs"]
mod dataset;
#[path = "support/device.rs"]
mod device;
#[path = "tiny/embedded.rs"]
mod embedded;
#[path = "recipe/input.rs"]
mod input;
#[path = "recipe/output.rs"]
mod output;
#[path = "recipe/run.rs"]
mod run;
#[path = "recipe/settings.rs"]
mod settings;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match recipe(&args) {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the recipe; true if Ctrl-C ended it early.
fn recipe(args: &args::Args) -> Result<bool> {
    if args.model.is_none() {
        println!(
            "This is the embedded tiny gpt-oss. For the real one: cargo run --example qat_gpt_oss_20b \
             -- --model DIR --data FILE.jsonl (see docs/checkpoints.md and docs/data.md)\n"
        );
    }
    let cancel = console::Cancel::install()?;
    let mut run = run::Run::prepare(args, cancel.clone())?;
    run.announce();
    run.stages()?;
    run.conclude();
    if cancel.pressed() {
        println!("stopped by Ctrl-C; the rows above are what was reached");
    }
    Ok(cancel.pressed())
}
