//! The memory of this process while something runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::process::Process;

/// The most anonymous memory, looked at ten times a second.
pub struct Memory {
    peak: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Memory {
    pub fn watch() -> Self {
        let (peak, ended) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let watched = Self {
            peak: peak.clone(),
            ended: ended.clone(),
        };
        thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                peak.fetch_max(Process::now().anonymous, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(100));
            }
        });
        watched
    }

    /// The peak of anonymous memory so far, in bytes.
    #[allow(dead_code)] // Not every bench computes with it.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Both peaks, in words.
    pub fn now(&self) -> String {
        format!(
            "peak of anonymous memory {:.2} GB, of resident memory with the mapped file {:.2} GB",
            self.peak.load(Ordering::Relaxed) as f64 / 1e9,
            Process::now().peak_resident as f64 / 1e9
        )
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}
