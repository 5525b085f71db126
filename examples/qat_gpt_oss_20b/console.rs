//! What the user sees while a run goes on, and Ctrl-C.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Result;
use burn::train::Interrupter;
use burn_gpt_oss::CheckpointProgress;
use burn_qat_train::{Console, EvalProgress};
use indicatif::{ProgressBar, ProgressStyle};

use crate::terminal::{say, warn};

/// Signals that come within this time are one.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// Set by the first Ctrl-C, SIGTERM or SIGHUP; a second one ends the process at once.
#[derive(Clone)]
pub struct Cancel {
    pressed: Arc<AtomicBool>,
    first: Arc<OnceLock<Instant>>,
    interrupter: Interrupter,
}

impl Cancel {
    /// Installs the handler.
    pub fn install() -> Result<Self> {
        let cancel = Self {
            pressed: Arc::new(AtomicBool::new(false)),
            first: Arc::default(),
            interrupter: Interrupter::new(),
        };
        let handler = cancel.clone();
        ctrlc::set_handler(move || {
            let since = handler.first.get_or_init(Instant::now).elapsed();
            if handler.pressed.swap(true, Ordering::SeqCst) {
                // A closed terminal and a stopped service send two signals at once and mean one.
                if since > SAME_SIGNAL {
                    std::process::exit(130);
                }
                return;
            }
            warn("\nstopping after this step; press Ctrl-C again to quit at once");
            handler.interrupter.stop(Some("Ctrl-C"));
        })?;
        Ok(cancel)
    }

    /// Whether the run is to stop.
    pub fn pressed(&self) -> bool {
        self.pressed.load(Ordering::SeqCst)
    }

    /// The handle Burn's training loop listens to.
    pub fn interrupter(&self) -> Interrupter {
        self.interrupter.clone()
    }

    /// For loops that ask after each piece of work.
    pub fn flow(&self) -> ControlFlow<()> {
        if self.pressed() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// Training progress: one redrawn line on a terminal, whole lines elsewhere.
pub fn training() -> Console {
    match std::io::stderr().is_terminal() {
        true => Console::Terminal,
        false => Console::Lines(Arc::new(|line| say(line))),
    }
}

/// A bar of one piece of work; on a terminal it vanishes when done, elsewhere nothing is shown.
pub struct Bar {
    bar: ProgressBar,
    started: Instant,
}

impl Bar {
    pub fn new(what: &str) -> Self {
        let bar = match std::io::stderr().is_terminal() {
            true => ProgressBar::new(0),
            false => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template("{prefix:<24} {bar:24} {pos}/{len} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(what.to_string());
        bar.enable_steady_tick(Duration::from_millis(250));
        Self {
            bar,
            started: Instant::now(),
        }
    }

    pub fn checkpoint(&self, progress: &CheckpointProgress<'_>) {
        self.bar.set_length(progress.bytes_total / 1_000_000);
        self.bar.set_position(progress.bytes_done / 1_000_000);
        self.bar.set_message("MB");
    }

    pub fn evaluation(&self, progress: EvalProgress, examples: usize, prompts: usize) {
        let (done, total, what) = match progress {
            EvalProgress::Loss(done) => (done, examples, "conversations (loss)"),
            EvalProgress::Prompts(done) => (done, prompts, "prompts answered"),
        };
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        self.bar.set_message(what);
    }

    pub fn layers(&self, done: usize, total: usize) {
        self.count(done, total, "layers");
    }

    pub fn rows(&self, done: usize, total: usize) {
        self.count(done, total, "conversations");
    }

    fn count(&self, done: usize, total: usize, of: &'static str) {
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        self.bar.set_message(of);
    }

    /// Removes the bar and tells the seconds it took.
    pub fn finish(self) -> f64 {
        self.bar.finish_and_clear();
        self.started.elapsed().as_secs_f64()
    }
}
