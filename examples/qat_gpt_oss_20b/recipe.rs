//! What a run was told to do, as files.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;
use burn_qat_train::Recipe;
use serde_json::json;

use crate::output::{self, RECIPE, RUN};

/// Writes what the run is going to do, before it starts: the recipe with every value, which is a recipe file itself,
/// and how the run was called.
pub fn write(out: &Path, recipe: &Recipe) -> Result<()> {
    let text = serde_json::to_string_pretty(recipe)?;
    output::write(&out.join(RECIPE), &format!("{text}\n"))?;
    let run = json!({"version": env!("CARGO_PKG_VERSION"), "command": command()});
    output::write(&out.join(RUN), &format!("{run:#}\n"))
}

/// The command line as text; a path in it need not be UTF-8.
fn command() -> Vec<String> {
    let displayed = |word: OsString| word.to_string_lossy().into_owned();
    std::env::args_os().map(displayed).collect()
}
