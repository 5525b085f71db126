//! Writes a checkpoint in another form, for another engine. See `--help`.

mod args;
mod merge;
mod progress;
#[path = "../support/terminal.rs"]
mod terminal;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use burn_gpt_oss::{CheckpointReader, ConvertReport, Converter};
use clap::Parser;

use args::Args;
use progress::Progress;
use terminal::{fail, say, visible};

/// Gives memory back to the system as soon as it is free.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            fail(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let source = CheckpointReader::open(&args.source)?;
    say(visible(&format!(
        "source: {}, {}, {}",
        args.source.display(),
        source.form(),
        source.dialect()
    )));
    let progress = Progress::install()?;
    let start = Instant::now();
    if let Some(adapter) = &args.adapter {
        let saved = merge::run(args, &source, adapter, &progress)?;
        progress.finish();
        say(visible(&format!("merged: {}", saved.dir.display())));
        say(rate(saved.bytes, start));
        return Ok(());
    }
    let mut converter = Converter::new(&source, args.target()?)
        .with_shard_bytes(args.shard_bytes()?)
        .with_overwrite(args.overwrite);
    if let Some(scheme) = args.scheme()? {
        converter = converter.with_scheme(scheme)?;
    }
    let report = converter
        .run(&args.out, |done| progress.show(&done))
        .with_context(|| args.out.display().to_string())?;
    progress.finish();
    show(&report, start);
    Ok(())
}

fn show(report: &ConvertReport, start: Instant) {
    if report.resumed > 0 {
        say(format_args!(
            "kept from a run before: {} files of weights",
            report.resumed
        ));
    }
    for file in &report.files {
        say(visible(&format!(
            "{:>15}  {}",
            bytes(file.bytes),
            file.name
        )));
    }
    if let Some(cast) = report.cast {
        say(format_args!("cast to NVFP4: {cast}"));
    }
    if let Some(first) = report.rounded.first() {
        say(format_args!(
            "rounded to BF16: {} tensors (first: {first})",
            report.rounded.len()
        ));
    }
    for note in &report.notes {
        say(format_args!("note: {note}"));
    }
    say(visible(&format!("written: {}", report.dir.display())));
    say(rate(report.bytes, start));
}

fn rate(n_bytes: u64, start: Instant) -> String {
    let seconds = start.elapsed().as_secs_f64();
    format!(
        "{} in {seconds:.1} s, {:.2} GB/s",
        bytes(n_bytes),
        n_bytes as f64 / seconds.max(1e-9) / 1e9
    )
}

/// With thousands apart.
fn bytes(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + " B"
}
