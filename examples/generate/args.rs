//! The command line.

use std::path::PathBuf;

use anyhow::Result;
use burn_gpt_oss::{
    GenerateOptions, ReasoningEffort, Sampling, StopStrings, Tokenizer, stop_tokens,
};
use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};

use crate::date::PUBLISHED_DATE;
use crate::device::DeviceName;

/// Chats with a gpt-oss checkpoint in the terminal, or answers one prompt.
///
/// Experts stay in 4 bits and the rest in 16 as they lie on disk: the CPU needs the memory of the file,
/// and little more. Without --model this is the embedded tiny gpt-oss, which knows a few small word
/// problems.
#[derive(Clone, Debug, Parser)]
#[command(name = "generate", max_term_width = 100)]
pub struct Args {
    /// Checkpoint directory in the published format (config.json, safetensors, tokenizer.json)
    /// [default: the embedded tiny model]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Answer this and exit, `-` for what standard input holds; without it, the lines of standard input are
    /// the turns of one conversation
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Write a JSON object per answer instead of text: prompt, thinking, content, preambles, tool_calls,
    /// messages (each with channel, recipient, well_formed and text), raw, finish (stop token, stop
    /// string, length or cancelled), kept, prompt_tokens, new_tokens, seconds_to_first_token and
    /// tokens_per_second; or prompt and error
    #[arg(long)]
    pub json: bool,
    /// Instructions for the model [embedded model: to think in English]
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// How much to think before an answer; not for the embedded model
    #[arg(long, value_enum, default_value_t = Effort::Medium)]
    pub reasoning: Effort,
    /// Leave out the system block that gpt-oss was trained with, as for models tuned without it
    #[arg(long)]
    pub no_system_block: bool,
    /// Date in the system block, YYYY-MM-DD; the default is that of the training recipe
    #[arg(long, value_name = "DATE", default_value = PUBLISHED_DATE)]
    pub date: String,
    /// Most tokens of an answer, thinking included; fewer where the context ends
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub max_new_tokens: usize,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceName::Flex)]
    pub device: DeviceName,

    /// 0 takes the most likely token every time, higher values vary more
    #[arg(
        long,
        value_name = "T",
        allow_negative_numbers = true,
        default_value_t = 0.0,
        help_heading = "Sampling"
    )]
    pub temperature: f32,
    /// Choose among the K most likely tokens (0: all)
    #[arg(long, value_name = "K", default_value_t = 0, help_heading = "Sampling")]
    pub top_k: usize,
    /// Choose among the most likely tokens that have probability P together
    #[arg(
        long,
        value_name = "P",
        allow_negative_numbers = true,
        default_value_t = 1.0,
        help_heading = "Sampling"
    )]
    pub top_p: f32,
    /// Choose among tokens at least P times as likely as the most likely one
    #[arg(
        long,
        value_name = "P",
        allow_negative_numbers = true,
        default_value_t = 0.0,
        help_heading = "Sampling"
    )]
    pub min_p: f32,
    /// Make tokens that occurred before less likely (1: no)
    #[arg(
        long,
        value_name = "X",
        allow_negative_numbers = true,
        default_value_t = 1.0,
        help_heading = "Sampling"
    )]
    pub repetition_penalty: f32,
    /// Seed of the choices
    #[arg(long, default_value_t = 42, help_heading = "Sampling")]
    pub seed: u64,
    /// End an answer, not the thinking before it, at this text; may be given several times
    #[arg(long, value_name = "TEXT", help_heading = "Sampling")]
    pub stop: Vec<String>,
    /// End at this special token, such as `<|end|>`, too; may be given several times
    #[arg(long, value_name = "TOKEN", help_heading = "Sampling")]
    pub stop_token: Vec<String>,
}

/// Reasoning effort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Effort {
    Low,
    Medium,
    High,
}

impl From<Effort> for ReasoningEffort {
    fn from(effort: Effort) -> Self {
        match effort {
            Effort::Low => Self::Low,
            Effort::Medium => Self::Medium,
            Effort::High => Self::High,
        }
    }
}

impl Args {
    /// What the library is asked for; `eos` are the tokens at which the checkpoint says an answer ends.
    pub fn options(&self, tokenizer: &Tokenizer, eos: &[u32]) -> Result<GenerateOptions> {
        let mut stop_tokens = stop_tokens(tokenizer);
        stop_tokens.extend(eos);
        for spelling in &self.stop_token {
            stop_tokens.push(tokenizer.require_special_token(spelling)?);
        }
        Ok(GenerateOptions {
            max_new_tokens: self.max_new_tokens,
            stop_tokens,
            sampling: Sampling {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
                repetition_penalty: self.repetition_penalty,
                seed: self.seed,
            },
            ..GenerateOptions::default()
        })
    }

    /// Whether there are sampling options without effect.
    pub fn samples_nothing(&self) -> bool {
        let filters = self.top_k > 0 || self.top_p < 1.0 || self.min_p > 0.0;
        self.temperature == 0.0 && filters
    }

    pub fn stop_strings(&self) -> Result<StopStrings> {
        Ok(StopStrings::new(&self.stop)?)
    }
}
