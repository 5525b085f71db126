//! Ctrl-C: ends an answer, and the program where none is being given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

#[derive(Clone, Default)]
pub struct Cancel {
    answering: Arc<AtomicBool>,
    pressed: Arc<AtomicBool>,
}

impl Cancel {
    /// Installs the handler.
    pub fn install() -> Result<Self> {
        let cancel = Self::default();
        let handler = cancel.clone();
        ctrlc::set_handler(move || {
            let answering = handler.answering.load(Ordering::SeqCst);
            if !answering || handler.pressed.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        })?;
        Ok(cancel)
    }

    /// An answer begins.
    pub fn begin(&self) {
        self.pressed.store(false, Ordering::SeqCst);
        self.answering.store(true, Ordering::SeqCst);
    }

    /// The answer is given; whether it was cancelled.
    pub fn end(&self) -> bool {
        self.answering.store(false, Ordering::SeqCst);
        self.pressed()
    }

    pub fn pressed(&self) -> bool {
        self.pressed.load(Ordering::SeqCst)
    }
}
