//! Chat with a checkpoint in the terminal, or one answer for a script. See `--help`.

#[path = "generate/answer.rs"]
mod answer;
#[path = "generate/args.rs"]
mod args;
#[path = "generate/cancel.rs"]
mod cancel;
#[path = "support/device.rs"]
mod device;
#[path = "tiny/embedded.rs"]
mod embedded;
#[path = "generate/screen.rs"]
mod screen;

use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use burn::tensor::{Device, FloatDType};
use burn_fp4::PackedProductMode;
use burn_gpt_oss::{
    AnalysisPolicy, CheckpointReader, Conversation, GenerateOptions, Generation, GptOss, Message,
    PromptCache, SystemContent, Tokenizer, render_completion,
};
use clap::Parser;

use answer::Answer;
use args::Args;
use cancel::Cancel;
use device::DeviceName;
use screen::Screen;

/// What the embedded model was trained with.
const EMBEDDED_SYSTEM: &str = "reasoning language: English\n\nYou are a helpful assistant.";

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Answers; true if Ctrl-C ended the only answer.
fn run(args: &Args) -> Result<bool> {
    let cancel = Cancel::install()?;
    let mut chat = match &args.model {
        Some(dir) => Chat::open(dir, args, cancel)?,
        None => {
            let dir = tempfile::tempdir()?;
            embedded::write(dir.path())?;
            Chat::open(dir.path(), args, cancel)?
        }
    };
    if let Some(prompt) = &args.prompt {
        return chat.answer(prompt);
    }
    if !args.json && args.model.is_none() {
        eprintln!(
            "This is the embedded tiny gpt-oss: it knows small word problems, such as\n\
             Lisa has 5 coins and gets 4 more. How many coins does Lisa have now?\n\
             For a real one: cargo run --release --example generate -- --model DIR"
        );
    }
    chat.screen.invite();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        // A line that cannot be answered is no reason to end a conversation.
        if !line.trim().is_empty()
            && let Err(error) = chat.answer(&line)
        {
            eprintln!("error: {error:#}");
        }
        chat.screen.invite();
    }
    Ok(false)
}

/// A model and what was said so far.
struct Chat<'a> {
    args: &'a Args,
    device: Device,
    model: GptOss,
    tokenizer: Tokenizer,
    options: GenerateOptions,
    messages: Vec<Message>,
    seen: PromptCache,
    screen: Screen,
    cancel: Cancel,
}

impl<'a> Chat<'a> {
    fn open(dir: &Path, args: &'a Args, cancel: Cancel) -> Result<Self> {
        let reader = CheckpointReader::open(dir)?;
        let tokenizer = Tokenizer::from_file(dir.join("tokenizer.json"))?;
        let options = args.options(&tokenizer)?;
        args.stop_strings()?;
        let device = args.device.open();
        // Half precision where it is computed with; CPUs only store it.
        let half = args.device != DeviceName::Flex && device.supports_dtype(FloatDType::BF16);
        let dtype = if half {
            FloatDType::BF16
        } else {
            FloatDType::F32
        };
        let mode = match args.int8 {
            true => PackedProductMode::Int8,
            false => PackedProductMode::Exact,
        };
        let model = reader.load_stored(&device, dtype, |_| {})?;
        let system = args.system.clone().or_else(|| {
            let embedded = args.model.is_none();
            embedded.then(|| EMBEDDED_SYSTEM.to_string())
        });
        Ok(Self {
            args,
            device,
            model: model.with_packed_products(mode),
            tokenizer,
            options,
            messages: system.into_iter().map(Message::system).collect(),
            seen: PromptCache::new(),
            screen: Screen::new(args.json),
            cancel,
        })
    }

    /// Answers what was said; true if it was cancelled.
    fn answer(&mut self, said: &str) -> Result<bool> {
        ensure!(!said.trim().is_empty(), "the prompt is empty");
        let mut messages = self.messages.clone();
        messages.push(Message::user(said));
        let prompts = [self.render(&messages)?];
        let generation = Generation::new(&self.model, &prompts, &self.options, &self.device)?
            .with_prompt_cache(&mut self.seen);
        self.cancel.begin();
        let cancel = self.cancel.clone();
        let stop = self.args.stop_strings()?;
        let answer = Answer::of(generation, &self.tokenizer, stop, &mut self.screen, || {
            cancel.pressed()
        });
        let cancelled = self.cancel.end();
        let answer = answer?;
        self.screen.conclude(said, prompts[0].len(), &answer);
        if !answer.content.is_empty() {
            messages.push(Message::assistant(answer.content).with_thinking(answer.thinking));
            self.messages = messages;
        }
        Ok(cancelled)
    }

    fn render(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let published = self.args.model.is_some() && !self.args.no_system_block;
        let effort = self.args.reasoning.into();
        let system = published.then(|| SystemContent::default().with_reasoning_effort(effort));
        let chat = Conversation::from_chat(messages.to_vec(), system)?;
        Ok(render_completion(
            &chat,
            &self.tokenizer,
            AnalysisPolicy::DropBeforeFinal,
        )?)
    }
}
