//! Runs with adapters that end early and go on.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::example::{error_of, mentions, text};
use crate::recipe::{output, recipe, results, wait_for_lines};

/// Many steps behind those at which a run is ended, or it may be through before the signal comes.
const ARGS: [&str; 12] = [
    "--rank",
    "2",
    "--sft-steps",
    "24",
    "--qat-steps",
    "30",
    "--eval-steps",
    "4",
    "--save-steps",
    "3",
    "--batch-size",
    "4",
];

fn command(dir: &Path, out: &Path, more: &[&str]) -> Command {
    recipe(dir, out, &[&ARGS, more].concat())
}

/// What must not depend on where a run was interrupted: the rows, and the bytes of models and factors.
fn result(out: &Path) -> (Vec<Value>, Vec<Vec<u8>>) {
    let rows = results(out)["rows"].as_array().expect("rows").clone();
    // Each run has its own directory.
    let figures = rows
        .iter()
        .map(|row| json!([row["name"], row["steps"], row["loss"]]));
    let files = [
        "lora_sft_adapter/adapter_model.safetensors",
        "lora_qat_adapter/adapter_model.safetensors",
        "lora_qat/model.safetensors",
    ];
    let bytes = files.map(|file| std::fs::read(out.join(file)).expect(file));
    (figures.collect(), bytes.to_vec())
}

/// Starts or goes on, and sends a signal once a log has so many lines.
fn end_early(dir: &Path, out: &Path, (signal, log, lines): (&str, &str, usize)) {
    let more: &[&str] = if out.exists() { &["--resume"] } else { &[] };
    let mut child = command(dir, out, more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the example starts");
    wait_for_lines(&out.join("logs").join(log).join("metrics.jsonl"), lines);
    let pid = child.id().to_string();
    let killed = Command::new("kill").args(["-s", signal, &pid]).status();
    killed.expect("kill");
    child.wait().expect("an end");
}

#[test]
fn a_run_that_ends_early_again_and_again_has_the_same_results() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    let ended = output(&mut command(dir.path(), &whole, &[]));
    assert!(ended.status.success(), "{ended:?}");
    for end in [
        ("KILL", "lora_sft", 1),
        ("TERM", "lora_sft", 2),
        ("KILL", "lora_sft", 7),
        ("KILL", "lora_qat", 1),
        ("INT", "lora_qat", 4),
    ] {
        end_early(dir.path(), &parts, end);
    }
    let ended = output(&mut command(dir.path(), &parts, &["--resume"]));
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{ended:?}");
    mentions(&said, &["LoRA-SFT: completed before", "LoRA-QAT: goes on"]);
    assert_eq!(result(&parts), result(&whole));
    // Nothing is left to do.
    let ended = output(&mut command(dir.path(), &parts, &["--resume"]));
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(result(&parts), result(&whole));
}

#[test]
fn only_the_same_run_goes_on() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = dir.path().join("out");
    let refused = |more: &[&str]| error_of(&output(&mut command(dir.path(), &out, more)));
    mentions(&refused(&["--resume"]), &["recipe.json", "no run to go on"]);
    end_early(dir.path(), &out, ("TERM", "lora_sft", 2));
    let other = ["--resume", "--sft-lr", "1e-3", "--alpha", "3"];
    let parts = ["`sft.learning_rate` was", "is 0.001", "`lora.alpha` was"];
    mentions(&refused(&other), &parts);
    let data = dir.path().join("other.jsonl");
    let rows = std::fs::read_to_string(dir.path().join("data.jsonl")).expect("rows");
    let fewer: Vec<&str> = rows.lines().skip(1).collect();
    std::fs::write(&data, fewer.join("\n")).expect("a file");
    let message = refused(&["--resume", "--data", &text(&data)]);
    mentions(&message, &["`data` was", "other.jsonl"]);
    let full = recipe(dir.path(), &out, &["--resume", "--sft-steps", "24"]);
    mentions(&error_of(&output(&mut { full })), &["train adapters"]);
}
