//! The recipe as a command on a small checkpoint and dataset.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::example::{binary, case, text};

/// The embedded model as a given one, and 40 rows.
pub fn inputs(dir: &Path) -> [String; 4] {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny-gpt-oss");
    let data = dir.join("data.jsonl");
    let rows = std::fs::read_to_string(case("run_best_not_last").join("data.jsonl"));
    std::fs::write(&data, rows.expect("rows")).expect("a file");
    ["--model", &text(&model), "--data", &text(&data)].map(str::to_string)
}

/// The recipe with little to evaluate.
pub fn recipe(dir: &Path, out: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    let [model, model_value, data, data_value] = inputs(dir);
    if !args.contains(&"--model") {
        command.args([model, model_value]);
    }
    if !args.contains(&"--data") {
        command.args([data, data_value]);
    }
    command
        .current_dir(dir)
        .args([
            "--prompts",
            "1",
            "--max-new-tokens",
            "2",
            "--system",
            "none",
        ])
        .args(["--out", &text(out)])
        .args(args);
    command
}

pub fn output(command: &mut Command) -> Output {
    command.output().expect("the example starts")
}

pub fn results(out: &Path) -> Value {
    let text = std::fs::read(out.join("results.json")).expect("results.json");
    serde_json::from_slice(&text).expect("JSON")
}

pub fn loss_of(results: &Value, row: usize) -> f64 {
    results["rows"][row]["loss"]["loss"]
        .as_f64()
        .expect("a loss")
}

pub fn wait_for_lines(path: &Path, lines: usize) {
    for _ in 0..2400 {
        let log = std::fs::read_to_string(path).unwrap_or_default();
        // Quantized weights are measured before the first step.
        let steps = log
            .lines()
            .filter(|line| !line.contains("\"quantization\""));
        if steps.count() >= lines {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{}: training never began", path.display());
}
