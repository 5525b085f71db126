//! What a run was told to do, as a file.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::args::Args;
use crate::output::{self, RECIPE};
use crate::settings::Settings;

/// Writes what the run is going to do, before it starts.
pub fn write(out: &Path, args: &Args, settings: &Settings, original: &Path) -> Result<()> {
    let recipe = recipe(args, settings, original);
    output::write(&out.join(RECIPE), &format!("{recipe:#}\n"))
}

/// What the run is going to do.
pub fn recipe(args: &Args, settings: &Settings, original: &Path) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "command": command(),
        "model": original.display().to_string(),
        "data": args.data.as_ref().map(|path| path.display().to_string()),
        "seed": args.seed,
        "sft": settings.sft,
        "qat": settings.qat,
        "lora": settings.lora,
        "policy": settings.policy,
        "loss_mask": settings.format.loss_mask,
        "max_length": settings.format.max_length,
        "prompts": settings.prompts,
        "max_new_tokens": settings.eval.max_new_tokens,
    })
}

/// The command line as text; a path in it need not be UTF-8.
fn command() -> Vec<String> {
    let displayed = |word: OsString| word.to_string_lossy().into_owned();
    std::env::args_os().map(displayed).collect()
}
