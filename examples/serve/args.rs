//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Result, ensure};
use burn_gpt_oss::{HarmonyVariant, SchedulerOptions};
use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};

use crate::date::PUBLISHED_DATE;
use crate::device::DeviceName;

/// Serves a gpt-oss checkpoint to OpenAI's clients: chat completions, completions, responses, and a page to chat.
///
/// Experts stay in 4 bits and the rest in 16 as they lie on disk. Without DIR this is the embedded tiny gpt-oss, which
/// knows a few small word problems.
#[derive(Clone, Debug, Parser)]
#[command(name = "serve", max_term_width = 100)]
pub struct Args {
    /// Checkpoint directory [default: the embedded tiny model]
    #[arg(value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Address to listen at; others than those of this machine need a key
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen at; 0 takes a free one, which is printed
    #[arg(long, value_name = "N", default_value_t = 8000)]
    pub port: u16,
    /// Key that clients must send
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Name of the model for clients [default: that of the directory]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Answer whatever model a client asks for
    #[arg(long)]
    pub any_model: bool,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceName::Flex)]
    pub device: DeviceName,

    /// Answers that are generated together
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = RangedU64ValueParser::<usize>::new().range(1..=256), help_heading = "Limits")]
    pub max_running: usize,
    /// Requests that wait; more are refused with status 429
    #[arg(long, value_name = "N", default_value_t = 128, help_heading = "Limits")]
    pub max_queued: usize,
    /// Most tokens of one answer, reasoning included
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = RangedU64ValueParser::<usize>::new().range(1..), help_heading = "Limits")]
    pub max_tokens: usize,
    /// Longest time of one request in seconds, the queue included
    #[arg(long, value_name = "S", default_value_t = 600, value_parser = RangedU64ValueParser::<u64>::new().range(1..=86_400), help_heading = "Limits")]
    pub timeout: u64,
    /// Largest body of a request in MB
    #[arg(long, value_name = "MB", default_value_t = 4, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024), help_heading = "Limits")]
    pub max_body_mb: usize,
    /// Memory for keys and values of running answers in MB; others wait until there is room for their full length
    #[arg(long, value_name = "MB", default_value_t = 8192, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1 << 20), help_heading = "Limits")]
    pub cache_mb: usize,
    /// Memory for keys and values of known beginnings of prompts in MB; 0 keeps none
    #[arg(
        long,
        value_name = "MB",
        default_value_t = 512,
        help_heading = "Limits"
    )]
    pub prefix_cache_mb: usize,

    /// Temperature for clients that name none
    #[arg(long, value_name = "T", default_value_t = 1.0, help_heading = "Model")]
    pub temperature: f32,
    /// Which published rendering of conversations
    #[arg(long, value_enum, default_value_t = Variant::Template, help_heading = "Model")]
    pub variant: Variant,
    /// Date in the system block, YYYY-MM-DD; the default is that of the training recipe
    #[arg(long, value_name = "DATE", default_value = PUBLISHED_DATE, help_heading = "Model")]
    pub date: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    /// The chat template of the checkpoints
    Template,
    /// openai-harmony, as vLLM
    Library,
}

impl From<Variant> for HarmonyVariant {
    fn from(variant: Variant) -> Self {
        match variant {
            Variant::Template => Self::Template,
            Variant::Library => Self::Library,
        }
    }
}

impl Args {
    /// Where to listen; an address that others reach needs a key.
    pub fn address(&self) -> Result<SocketAddr> {
        let has_key = self.api_key.as_ref().is_some_and(|key| !key.is_empty());
        ensure!(
            self.host.is_loopback() || has_key,
            "--host {}: everybody who reaches this machine could use the model; give --api-key, too",
            self.host
        );
        Ok(SocketAddr::new(self.host, self.port))
    }

    pub fn scheduler(&self) -> SchedulerOptions {
        SchedulerOptions {
            max_running: self.max_running,
            max_queued: self.max_queued,
            prefix_bytes: self.prefix_cache_mb << 20,
            cache_bytes: self.cache_mb << 20,
            ..SchedulerOptions::default()
        }
    }
}
