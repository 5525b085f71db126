//! How long freed memory is kept.

use std::env;
use std::process::Command;

use anyhow::{Context, Result};

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
            "the program cannot begin anew with MIMALLOC_PURGE_DELAY=0, which layer_wise needs; set it in the environment",
        )
    }
    // Elsewhere a parent would stay, which signals end first.
    #[cfg(not(unix))]
    {
        drop(again);
        Ok(())
    }
}
