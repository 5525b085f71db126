//! Chat with a checkpoint in the terminal, or one answer for a script. See `--help`.

mod answer;
mod args;
mod cancel;
mod chat;
#[path = "../support/date.rs"]
mod date;
#[path = "../support/device.rs"]
mod device;
#[path = "../tiny/embedded.rs"]
mod embedded;
mod screen;
#[path = "../support/terminal.rs"]
mod terminal;

use std::io::{BufRead, ErrorKind, IsTerminal, Read};
use std::process::ExitCode;

use anyhow::{Error, Result};
use clap::Parser;

use args::Args;
use cancel::Cancel;
use chat::Chat;
use screen::Screen;
use terminal::warn;

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(code) => code,
        // A reader that has enough, as `head`, is no failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let prompt = args.prompt.as_deref().unwrap_or_default();
            Screen::new(args.json).refuse(prompt, &error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    let mut chat = Chat::open(args, Cancel::install()?)?;
    if args.samples_nothing() {
        warn("note: at --temperature 0 the other sampling options but the penalty do nothing");
    }
    match args.prompt.as_deref() {
        Some("-") => {
            let mut prompt = Vec::new();
            std::io::stdin().read_to_end(&mut prompt)?;
            once(&mut chat, &String::from_utf8_lossy(&prompt))
        }
        Some(prompt) => once(&mut chat, prompt),
        None => converse(args, &mut chat),
    }
}

/// One answer; 130 if Ctrl-C ended it.
fn once(chat: &mut Chat<'_>, prompt: &str) -> Result<ExitCode> {
    match chat.answer(prompt) {
        Ok(true) => Ok(ExitCode::from(130)),
        Ok(false) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            chat.screen.check()?;
            chat.screen.refuse(prompt, &error);
            Ok(ExitCode::FAILURE)
        }
    }
}

/// A line, an answer, and so on; a failure if one could not be answered that nobody typed.
fn converse(args: &Args, chat: &mut Chat<'_>) -> Result<ExitCode> {
    let typed = std::io::stdin().is_terminal();
    if !args.json && args.model.is_none() {
        warn(
            "This is the embedded tiny gpt-oss. It knows small word problems, one per conversation:\n\
             Lisa has 5 coins and gets 4 more. How many coins does Lisa have now?\n\
             For a real model: cargo run --release --example generate -- --model DIR",
        );
    }
    if typed {
        warn("/new begins another conversation, /exit ends; Ctrl-C ends an answer");
    }
    let mut code = ExitCode::SUCCESS;
    let mut stdin = std::io::stdin().lock();
    let mut line = Vec::new();
    loop {
        chat.screen.invite();
        line.clear();
        if stdin.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let said = String::from_utf8_lossy(&line);
        match said.trim() {
            "" => {}
            "/exit" => break,
            "/new" => chat.restart(),
            said => {
                // A line that cannot be answered is no reason to end a conversation.
                if let Err(error) = chat.answer(said) {
                    chat.screen.check()?;
                    chat.screen.refuse(said, &error);
                    if !typed {
                        code = ExitCode::FAILURE;
                    }
                }
            }
        }
    }
    Ok(code)
}

fn is_broken_pipe(error: &Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == ErrorKind::BrokenPipe)
}
