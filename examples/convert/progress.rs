//! How far it is, and Ctrl-C.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use burn_gpt_oss::CheckpointProgress;
use indicatif::{ProgressBar, ProgressStyle};

pub struct Progress {
    bar: ProgressBar,
    stopped: Arc<AtomicBool>,
}

impl Progress {
    /// Shows a bar on a terminal; elsewhere nothing. The first Ctrl-C stops the work, the second one the process.
    pub fn install() -> Result<Self> {
        let stopped = Arc::new(AtomicBool::new(false));
        let handler = stopped.clone();
        ctrlc::set_handler(move || {
            if handler.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        })?;
        let style = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}";
        let bar = ProgressBar::no_length();
        bar.set_style(ProgressStyle::with_template(style)?);
        Ok(Self { bar, stopped })
    }

    pub fn show(&self, done: &CheckpointProgress<'_>) -> ControlFlow<()> {
        self.bar.set_length(done.bytes_total);
        self.bar.set_position(done.bytes_done);
        self.bar.set_message(done.tensor.to_owned());
        match self.stopped.load(Ordering::SeqCst) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
