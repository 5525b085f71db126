//! How long freed memory is kept.

use std::env;
use std::process::Command;

use anyhow::Result;

/// Milliseconds until freed memory is given back, which the allocator reads when the process begins.
const DELAY: &str = "MIMALLOC_PURGE_DELAY";

/// Gives freed memory back at once. `.cargo/config.toml` says that it is kept, which is faster where there is enough;
/// matrices that come and go one by one would take several times their memory. The process begins anew for it.
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
        Err(again.exec().into())
    }
    #[cfg(not(unix))]
    {
        let code = again.status()?.code();
        std::process::exit(code.unwrap_or(1))
    }
}
