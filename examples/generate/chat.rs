//! A model, and what was said so far.

use std::path::Path;

use anyhow::{Error, Result, ensure};
use burn::tensor::Device;
use burn_gpt_oss::{
    CheckpointReader, Conversation, ElementTypes, GenerateOptions, Generation, GptOss, GptOssError,
    Message, PromptCache, RenderOptions, SystemContent, Tokenizer, render_completion,
};
use tempfile::TempDir;

use crate::answer::Answer;
use crate::args::Args;
use crate::cancel::Cancel;
use crate::embedded;
use crate::screen::Screen;

/// What the embedded model was trained with.
const EMBEDDED_SYSTEM: &str = "reasoning language: English\n\nYou are a helpful assistant.";

pub struct Chat<'a> {
    args: &'a Args,
    device: Device,
    reader: CheckpointReader,
    model: GptOss,
    tokenizer: Tokenizer,
    options: GenerateOptions,
    messages: Vec<Message>,
    seen: PromptCache,
    pub screen: Screen,
    cancel: Cancel,
    /// The files of the embedded model, for as long as they are mapped.
    _files: Option<TempDir>,
}

impl<'a> Chat<'a> {
    /// A chat with the model that the arguments name.
    pub fn open(args: &'a Args, cancel: Cancel) -> Result<Self> {
        let Some(dir) = &args.model else {
            let files = tempfile::tempdir()?;
            embedded::write(files.path())?;
            let chat = Self::with(files.path(), args, cancel)?;
            return Ok(Self {
                _files: Some(files),
                ..chat
            });
        };
        Self::with(dir, args, cancel)
    }

    fn with(dir: &Path, args: &'a Args, cancel: Cancel) -> Result<Self> {
        let reader = CheckpointReader::open(dir)?;
        let tokenizer = Tokenizer::from_file(dir.join("tokenizer.json"))?;
        tokenizer.check(reader.config())?;
        let options = args.options(&tokenizer, &reader.eos_token_ids()?)?;
        args.stop_strings()?;
        let device = args.device.open();
        let compute = ElementTypes::generation(&device).compute;
        let model = reader.load_stored(&device, compute, |_| {})?;
        // Mistakes in the options are told before anything is asked.
        Generation::new(&model, &[], &options, &device)?;
        let mut chat = Self {
            args,
            device,
            reader,
            model,
            tokenizer,
            options,
            messages: Vec::new(),
            seen: PromptCache::new(),
            screen: Screen::new(args.json),
            cancel,
            _files: None,
        };
        chat.restart();
        Ok(chat)
    }

    /// Forgets what was said.
    pub fn restart(&mut self) {
        let embedded = self.args.model.is_none();
        let system = self.args.system.as_deref();
        let system = system.or(embedded.then_some(EMBEDDED_SYSTEM));
        self.messages = system.into_iter().map(Message::system).collect();
    }

    /// Answers what was said; true if it was cancelled.
    pub fn answer(&mut self, said: &str) -> Result<bool> {
        ensure!(!said.trim().is_empty(), "the prompt is empty");
        let mut messages = self.messages.clone();
        messages.push(Message::user(said));
        let prompts = [self.render(&messages)?];
        let options = self.options_for(prompts[0].len())?;
        let generation = Generation::new(&self.model, &prompts, &options, &self.device)?
            .with_prompt_cache(&mut self.seen);
        self.cancel.begin();
        let cancel = self.cancel.clone();
        let (stop, screen) = (self.args.stop_strings()?, &mut self.screen);
        let reading = (&self.tokenizer, options.stop_tokens.as_slice());
        let answer = Answer::of(generation, reading, stop, screen, || cancel.pressed());
        let cancelled = self.cancel.end();
        let answer = answer.map_err(|error| self.explained(error))?;
        self.screen.conclude(said, prompts[0].len(), &answer);
        self.screen.check()?;
        // Without an answer there is no turn to remember.
        if answer.is_kept() {
            let message = Message::assistant(answer.content());
            messages.push(message.with_thinking(answer.thinking()));
            self.messages = messages;
        }
        Ok(cancelled)
    }

    /// An answer that breaks down may be the fault of a weight, which was not searched for when it was
    /// loaded.
    fn explained(&self, error: Error) -> Error {
        if !matches!(error.downcast_ref(), Some(GptOssError::Logits { .. })) {
            return error;
        }
        match self.reader.check_weights() {
            Err(cause) => error.context(cause.to_string()),
            Ok(()) => error,
        }
    }

    /// As many new tokens as there is room for, if they are fewer than asked for.
    fn options_for(&self, prompt: usize) -> Result<GenerateOptions> {
        let context = self.model.config().max_position_embeddings;
        ensure!(
            prompt < context,
            "what was said has {prompt} tokens and leaves no room for an answer in the context of \
             {context}; in a chat, /new begins another conversation"
        );
        Ok(GenerateOptions {
            max_new_tokens: self.options.max_new_tokens.min(context - prompt),
            ..self.options.clone()
        })
    }

    fn render(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let published = self.args.model.is_some() && !self.args.no_system_block;
        let effort = self.args.reasoning.into();
        let system = published.then(|| {
            let system = SystemContent::default().with_reasoning_effort(effort);
            system.with_date(self.args.date.as_str())
        });
        let chat = Conversation::from_chat(messages.to_vec(), system)?;
        // The embedded model was made with the library's rendering.
        let options = match self.args.model.is_some() {
            true => RenderOptions::template(),
            false => RenderOptions::library(),
        };
        Ok(render_completion(&chat, &self.tokenizer, options)?)
    }
}
