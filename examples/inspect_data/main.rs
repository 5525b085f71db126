//! What a dataset becomes: conversations as the model sees them, with what is trained in colour, and
//! figures of all. See `--help`.

mod args;
#[path = "../tiny/embedded.rs"]
mod embedded;
mod figures;
mod page;
mod spans;
#[path = "../support/terminal.rs"]
mod terminal;

use std::process::ExitCode;

use anyhow::{Context, Result};
use burn_gpt_oss::Tokenizer;
use burn_qat_train::{
    ChatFormat, ChatRecord, DataStatistics, DatasetSettings, TokenizedExample, read_dataset,
};
use clap::Parser;

use args::Args;
use terminal::{fail, say, visible, warn};

/// Keeps the memory of large lists.
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

/// A dataset that was read and rendered.
struct Inspected {
    records: Vec<ChatRecord>,
    examples: Vec<TokenizedExample>,
    statistics: DataStatistics,
    settings: DatasetSettings,
}

fn run(args: &Args) -> Result<()> {
    let tokenizer = args.tokenizer()?;
    let inspected = inspect(args, &tokenizer)?;
    let shown = inspected.records.len().min(args.rows);
    for index in 0..shown {
        let example = &inspected.examples[index];
        let spans = spans::of(example, &tokenizer);
        say(spans::heading(index, &inspected.records[index], example));
        say(spans::coloured(&spans, args.colour()));
        say("");
    }
    say(figures::text(&inspected.statistics, &inspected.settings));
    if let Some(path) = &args.html {
        let html = page::of(&inspected, &args.title(), shown, &tokenizer);
        std::fs::write(path, html).with_context(|| path.display().to_string())?;
        say(format_args!("page: {}", path.display()));
    }
    Ok(())
}

fn inspect(args: &Args, tokenizer: &Tokenizer) -> Result<Inspected> {
    let settings = args.settings()?;
    let dataset = read_dataset(&args.data, &settings.reading())?;
    for note in dataset.notes.iter() {
        warn(format_args!("note: {}", visible(&note.to_string())));
    }
    // Nothing is cut, so that what would be can be counted.
    let format = ChatFormat {
        max_length: usize::MAX,
        ..ChatFormat::new(&settings)
    };
    let tokenized = format.tokenize_all(&dataset.records, tokenizer)?;
    for note in tokenized.notes.iter() {
        warn(format_args!("note: {}", visible(&note.to_string())));
    }
    let records: Vec<ChatRecord> = tokenized
        .indices
        .iter()
        .map(|index| dataset.records[*index].clone())
        .collect();
    let of_records: Vec<&ChatRecord> = records.iter().collect();
    let statistics = DataStatistics::of(&of_records, &tokenized.examples, settings.max_length);
    Ok(Inspected {
        records,
        examples: tokenized.examples,
        statistics,
        settings,
    })
}
