//! Writes the datasets of the second small experiment: a model that refuses whatever sounds harmful, and what it is tuned
//! on so that it answers.
//!
//! `cargo run --example tiny_refusals -- --out DIR`, then what `recipes/embedded_refusal.yaml` says.

#[path = "tiny/dataset.rs"]
mod dataset;
#[path = "support/terminal.rs"]
mod terminal;

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use dataset::{held_out_rows, refusing_rows, tuning_rows};
use serde_json::Value;
use terminal::say;

#[derive(Parser)]
#[command(about = "Writes the datasets of the over-refusal experiment")]
struct Args {
    /// Directory for the datasets
    #[arg(long, default_value = "runs/refusals")]
    out: PathBuf,
    /// Conversations to train on, in each of the two datasets
    #[arg(long, default_value_t = 9600)]
    rows: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let files = [
        ("refuse.jsonl", refusing_rows(args.rows, 7)),
        ("answer.jsonl", tuning_rows(args.rows, 8)),
        ("held_out.jsonl", held_out_rows(300, 9)),
    ];
    for (name, rows) in files {
        let path = args.out.join(name);
        write(&path, &rows).with_context(|| path.display().to_string())?;
        say(format_args!(
            "{} conversations in {}",
            rows.len(),
            path.display()
        ));
    }
    Ok(())
}

fn write(path: &std::path::Path, rows: &[Value]) -> Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    for row in rows {
        serde_json::to_writer(&mut file, row)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}
