//! What memory is allocated with: how long it is kept once it is free, and how much there was at a time.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::env;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::{Context, Result};
use mimalloc::MiMalloc;

/// Milliseconds until freed memory is given back, which the allocator reads when the process begins.
const DELAY: &str = "MIMALLOC_PURGE_DELAY";

/// Gives freed memory back at once. `.cargo/config.toml` says that it is kept, which is faster where there is enough;
/// matrices that come and go one by one would take a quarter more memory. The process begins anew for it.
///
/// # Errors
/// A program that cannot be started again.
pub fn give_memory_back() -> Result<()> {
    if env::var_os(DELAY).is_none_or(|delay| delay != "-1") {
        return Ok(());
    }
    let mut again = Command::new(env::current_exe()?);
    again.args(env::args_os().skip(1)).env(DELAY, "0");
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        Err(again.exec()).context(
            "the program cannot begin anew with MIMALLOC_PURGE_DELAY=0, which this recipe needs; set it in the environment",
        )
    }
    // Elsewhere a parent would stay, which signals end first.
    #[cfg(not(unix))]
    {
        drop(again);
        Ok(())
    }
}

/// Keeps the memory of large tensors, which glibc gives back to the system in every step, and counts what is allocated.
pub struct Counted;

/// Bytes that are allocated now.
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// The most there were at a time.
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The most bytes that were allocated at a time. Files that are mapped are not among them.
pub fn peak() -> u64 {
    PEAK.load(Relaxed) as u64
}

fn add(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
    // Rarely true: a read costs threads less than the maximum of an exchange.
    if live > PEAK.load(Relaxed) {
        PEAK.fetch_max(live, Relaxed);
    }
}

// SAFETY: everything is left to mimalloc.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promises are those of this call.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as above.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        add(new_size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { MiMalloc.realloc(memory, layout, new_size) }
    }
}
