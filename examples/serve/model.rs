//! The model that is served, and its thread.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use burn_gpt_oss::{
    AnalysisPolicy, CheckpointReader, ElementTypes, ReasoningEffort, RenderOptions, Scheduler,
    Tokenizer, stop_tokens,
};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::args::Args;
use crate::embedded;
use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::state::State;
use crate::stored::Stored;

pub struct Served {
    pub state: Arc<State>,
    thread: JoinHandle<()>,
    /// The files of the embedded model, for as long as they are mapped.
    _files: Option<TempDir>,
}

impl Served {
    pub fn open(args: &Args) -> Result<Self> {
        let Some(dir) = &args.model else {
            let files = tempfile::tempdir()?;
            embedded::write(files.path())?;
            let served = Self::with(files.path(), "tiny-gpt-oss", args)?;
            return Ok(Self {
                _files: Some(files),
                ..served
            });
        };
        let name = dir.canonicalize()?;
        let name = name
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Self::with(dir, &name, args)
    }

    fn with(dir: &Path, name: &str, args: &Args) -> Result<Self> {
        let reader = CheckpointReader::open(dir)?;
        let tokenizer = Tokenizer::from_file(dir.join("tokenizer.json"))?;
        tokenizer.check(reader.config())?;
        let mut stops = stop_tokens(&tokenizer);
        stops.extend(reader.eos_token_ids()?);
        let device = args.device.open();
        let compute = ElementTypes::generation(&device).compute;
        let model = reader.load_stored(&device, compute, |_| {})?;
        let config = reader.config().clone();
        let (engine, thread) = Engine::start(Scheduler::new(model, &device, args.scheduler()));
        let render = RenderOptions {
            variant: args.variant.into(),
            analysis: AnalysisPolicy::Template,
        };
        let state = State {
            engine,
            // For the whole run, as handlers of any age use it.
            tokenizer: Box::leak(Box::new(tokenizer)),
            config,
            model: args.name.clone().unwrap_or_else(|| name.to_owned()),
            any_model: args.any_model,
            stop_tokens: stops,
            render,
            date: args.date.clone(),
            effort: ReasoningEffort::Medium,
            temperature: args.temperature,
            max_tokens: args.max_tokens,
            timeout: Duration::from_secs(args.timeout),
            max_body: args.max_body_mb << 20,
            api_key: args.api_key.clone().filter(|key| !key.is_empty()),
            created: State::now(),
            metrics: Metrics::new(),
            stored: Stored::default(),
            stopping: AtomicBool::new(false),
            max_queued: args.max_queued,
            places: Semaphore::new(2),
        };
        Ok(Self {
            state: Arc::new(state),
            thread,
            _files: None,
        })
    }

    /// Waits for the thread of the model, which ends when nobody can ask it any more.
    pub fn end(self) {
        let Self {
            state,
            thread,
            _files,
        } = self;
        drop(state);
        let _ = thread.join();
    }
}
