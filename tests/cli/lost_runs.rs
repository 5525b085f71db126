//! Runs that used to lose what they had learned.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use burn_gpt_oss::CheckpointReader;
use serde_json::Value;

use crate::example::{binary, case, entries, error_of, mentions, text};

/// The embedded model as a given one, and 40 rows.
fn inputs(dir: &Path) -> [String; 4] {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny-gpt-oss");
    let data = dir.join("data.jsonl");
    let rows = std::fs::read_to_string(case("run_best_not_last").join("data.jsonl"));
    std::fs::write(&data, rows.expect("rows")).expect("a file");
    ["--model", &text(&model), "--data", &text(&data)].map(str::to_string)
}

/// The recipe with little to evaluate.
fn recipe(dir: &Path, out: &Path, args: &[&str]) -> Command {
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

fn output(command: &mut Command) -> Output {
    command.output().expect("the example starts")
}

fn results(out: &Path) -> Value {
    let text = std::fs::read(out.join("results.json")).expect("results.json");
    serde_json::from_slice(&text).expect("JSON")
}

fn loss_of(results: &Value, row: usize) -> f64 {
    results["rows"][row]["loss"]["loss"]
        .as_f64()
        .expect("a loss")
}

#[test]
fn the_best_step_need_not_be_the_last() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = dir.path().join("out");
    let args = "--sft-steps 30 --eval-steps 3 --qat-steps 1 --sft-lr 3e-3 --warmup-ratio 0 \
        --min-lr-ratio 1 --eval-fraction 0.3";
    let args: Vec<&str> = args.split_whitespace().collect();
    let ended = output(&mut recipe(dir.path(), &out, &args));
    assert!(ended.status.success(), "{ended:?}");
    let results = results(&out);
    let steps = results["rows"][1]["steps"].as_u64().expect("steps");
    assert!(0 < steps && steps < 30, "{results}");
    // The row is that of the best evaluation, in BF16.
    let log = std::fs::read_to_string(out.join("logs/sft/metrics.jsonl")).expect("a log");
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let best = lines
        .filter(|line| line["split"] == "valid")
        .map(|line| line["loss"].as_f64().expect("a loss"))
        .fold(f64::INFINITY, f64::min);
    assert!(
        (loss_of(&results, 1) - best).abs() < 0.05,
        "{best}: {results}"
    );
    let logs = entries(&out.join("logs/sft"));
    assert_eq!(
        logs,
        ["metrics.jsonl"],
        "the record goes when the model is saved"
    );
}

/// SIGTERM of a cluster, SIGHUP of a closed terminal, Ctrl-C: between two evaluations.
#[test]
fn signals_between_evaluations_leave_a_model() {
    for (signal, lines) in [("TERM", 1), ("HUP", 9), ("INT", 4)] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let out = dir.path().join("out");
        let args = ["--sft-steps", "500", "--eval-steps", "3"];
        let mut child = recipe(dir.path(), &out, &args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the example starts");
        wait_for_lines(&out.join("logs/sft/metrics.jsonl"), lines);
        let pid = child.id().to_string();
        let kill = || Command::new("kill").args(["-s", signal, &pid]).status();
        kill().expect("kill");
        // A closed terminal sends it twice.
        kill().expect("kill");
        let mut said = String::new();
        let mut stdout = child.stdout.take().expect("piped");
        stdout.read_to_string(&mut said).expect("text");
        let status = child.wait().expect("the example ends");
        assert_eq!(status.code(), Some(130), "{signal}: {said}");
        mentions(&said, &["Original", "stopped by a signal"]);
        mentions(&said, &["saved", "out/sft: the model of step"]);
        CheckpointReader::open(out.join("sft")).expect(signal);
    }
}

fn wait_for_lines(path: &Path, lines: usize) {
    for _ in 0..2400 {
        let log = std::fs::read_to_string(path).unwrap_or_default();
        if log.lines().count() >= lines {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{}: training never began", path.display());
}

/// Without an optimizer step there is nothing to keep, and the run says so.
#[test]
fn a_signal_before_the_first_step_says_that_nothing_was_trained() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = dir.path().join("out");
    let mut child = Command::new(binary())
        .args(["--max-new-tokens", "300", "--out", &text(&out)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let stdout = child.stdout.take().expect("piped");
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    assert!(
        lines.any(|line| line.starts_with("output ")),
        "no beginning"
    );
    let pid = child.id().to_string();
    Command::new("kill")
        .args(["-s", "TERM", &pid])
        .status()
        .expect("kill");
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().expect("an end").code(), Some(130));
    mentions(&rest.join("\n"), &["nothing was trained"]);
    assert!(!out.join("sft").exists());
}

/// `| head -2`, a pager that was left, a full disk behind a redirection, a closed terminal.
#[test]
fn readers_that_are_gone_do_not_end_a_run() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let run = |name: &str, redirection: &str| {
        let out = dir.path().join(name);
        let command = recipe(dir.path(), &out, &["--smoke"]);
        let words = command
            .get_args()
            .map(|word| format!("'{}'", word.display()));
        let words: Vec<String> = words.collect();
        let script = format!(
            "set -o pipefail; '{}' {} {redirection}",
            binary().display(),
            words.join(" ")
        );
        let ended = output(
            Command::new("bash")
                .args(["-c", &script])
                .current_dir(dir.path()),
        );
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!said.contains("panicked"), "{said}");
        CheckpointReader::open(out.join("sft_qat")).expect(name);
        assert_eq!(results(&out)["rows"].as_array().map(Vec::len), Some(6));
        (ended.status.code(), said)
    };
    assert_eq!(run("head", "| head -2").0, Some(0));
    assert_eq!(run("closed", ">&- 2>&-").0, Some(0));
    assert_eq!(run("stderr", "2>/dev/full").0, Some(0));
    let (code, said) = run("full", ">/dev/full");
    assert_eq!(code, Some(1));
    mentions(&said, &["standard output", "results.md"]);
}

#[test]
fn runs_of_the_same_second_have_their_own_directories() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let start = |seed: &str| {
        Command::new(binary())
            .current_dir(dir.path())
            .args(inputs(dir.path()))
            .args([
                "--smoke",
                "--prompts",
                "1",
                "--max-new-tokens",
                "2",
                "--system",
                "none",
            ])
            .args(["--seed", seed])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the example starts")
    };
    let runs: Vec<_> = ["1", "2", "3"].map(start).into_iter().collect();
    for mut run in runs {
        assert!(run.wait().expect("an end").success());
    }
    let directories = entries(&dir.path().join("runs"));
    assert_eq!(directories.len(), 3, "{directories:?}");
    let seeds = directories.iter().map(|name| {
        let recipe = std::fs::read(dir.path().join("runs").join(name).join("recipe.json"));
        let recipe: Value = serde_json::from_slice(&recipe.expect("a recipe")).expect("JSON");
        recipe["seed"].as_u64().expect("a seed")
    });
    let mut seeds: Vec<u64> = seeds.collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [1, 2, 3]);
}

#[test]
fn a_run_that_goes_on_is_not_overwritten() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = dir.path().join("out");
    let mut first = recipe(dir.path(), &out, &["--sft-steps", "500"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the example starts");
    wait_for_lines(&out.join("logs/sft/metrics.jsonl"), 1);
    let second = output(&mut recipe(dir.path(), &out, &["--smoke", "--overwrite"]));
    let before = entries(&out);
    first.kill().expect("kill");
    first.wait().expect("an end");
    // Its notes about the rows come before the error.
    assert_eq!(second.status.code(), Some(1));
    mentions(
        &String::from_utf8_lossy(&second.stderr),
        &["another run is writing"],
    );
    assert!(
        before.iter().any(|name| name == "recipe.json"),
        "{before:?}"
    );
    // The lock goes with the process, however it ended.
    let third = output(&mut recipe(dir.path(), &out, &["--smoke", "--overwrite"]));
    assert!(third.status.success(), "{third:?}");
}

#[test]
fn divergence_leaves_the_best_model_and_no_false_claims() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let run = |name: &str, args: &str| {
        let out = dir.path().join(name);
        let args: Vec<&str> = args.split_whitespace().collect();
        let ended = output(&mut recipe(dir.path(), &out, &args));
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        (out, String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let (out, error) = run("nothing", "--smoke --sft-lr 1e30");
    mentions(&error, &["SFT", "NaN", "no weights were kept"]);
    assert!(!out.join("sft").exists());
    let (out, error) = run(
        "best",
        "--sft-lr 1e30 --warmup-ratio 1 --eval-steps 1 --sft-steps 6",
    );
    mentions(&error, &["sft holds the model of step 1", "NaN at step 2"]);
    assert_eq!(results(&out)["rows"][1]["steps"], 1);
    let (out, error) = run("qat", "--smoke --qat-lr 1e30");
    mentions(&error, &["SFT + QAT", "validation loss is NaN"]);
    assert!(out.join("sft_ptq").exists() && !out.join("sft_qat").exists());
}

/// The source may be touched, moved or removed while the training goes on.
#[test]
fn the_source_is_not_needed_at_the_end() {
    for change in ["touch", "move"] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (model, out) = (dir.path().join("model"), dir.path().join("out"));
        crate::files::copy_tree("assets/tiny-gpt-oss", &model);
        let args = [
            "--model",
            &text(&model),
            "--sft-steps",
            "1000",
            "--eval-steps",
            "999",
        ];
        let mut child = recipe(dir.path(), &out, &args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the example starts");
        wait_for_lines(&out.join("logs/sft/metrics.jsonl"), 1);
        match change {
            "touch" => {
                let file = std::fs::File::options()
                    .append(true)
                    .open(model.join("model.safetensors"));
                file.and_then(|file| file.set_modified(std::time::SystemTime::now()))
                    .expect("a touch");
            }
            _ => std::fs::rename(&model, dir.path().join("moved")).expect("a move"),
        }
        let pid = child.id().to_string();
        let kill = Command::new("kill").args(["-s", "TERM", &pid]).status();
        kill.expect("kill");
        assert_eq!(child.wait().expect("an end").code(), Some(130), "{change}");
        CheckpointReader::open(out.join("sft")).expect(change);
        for name in ["tokenizer.json", "generation_config.json"] {
            assert!(out.join("sft").join(name).is_file(), "{change}: {name}");
        }
    }
}

/// A bad start that gets better is no destroyed model.
#[test]
fn a_bad_start_is_not_the_fault_of_the_training() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = dir.path().join("out");
    let data = text(&case("data_markup").join("data.jsonl"));
    let mut command = recipe(dir.path(), &out, &["--smoke", "--data", &data]);
    let said = output(&mut command).stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(loss_of(&results(&out), 0) > 7.0, "a bad start");
    assert!(!said.contains("WARNING"), "{said}");
}

/// A model that guesses is not "ready to serve".
#[test]
fn a_run_that_ends_worse_than_it_began_says_so() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = dir.path().join("out");
    let args = ["--smoke", "--sft-lr", "3", "--warmup-ratio", "0"];
    let ended = output(&mut recipe(dir.path(), &out, &args));
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{ended:?}");
    mentions(&said, &["WARNING", "destroyed", "see the warning"]);
    assert!(!said.contains("ready to serve"), "{said}");
}

/// Saving fails after the training: the weights stay.
#[test]
fn a_failed_save_keeps_the_weights() {
    for eval_steps in ["3", "1000"] {
        failed_save(eval_steps);
    }
}

/// With an evaluation, and with none before the signal.
fn failed_save(eval_steps: &str) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = dir.path().join("out");
    let args = ["--sft-steps", "1000", "--eval-steps", eval_steps];
    let child = recipe(dir.path(), &out, &args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts");
    wait_for_lines(&out.join("logs/sft/metrics.jsonl"), 1);
    std::fs::write(out.join("sft"), "in the way").expect("a file");
    let pid = child.id().to_string();
    Command::new("kill")
        .args(["-s", "TERM", &pid])
        .status()
        .expect("kill");
    let ended = child.wait_with_output().expect("an end");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let error = String::from_utf8_lossy(&ended.stderr).into_owned();
    mentions(
        &error,
        &["not saved", "logs/sft/best-model.bpk", "give a directory"],
    );
    assert!(out.join("logs/sft/best-model.bpk").is_file());
}

#[cfg(unix)]
#[test]
fn paths_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().expect("temporary directory");
    let name = |bytes: &[u8]| -> PathBuf { dir.path().join(std::ffi::OsStr::from_bytes(bytes)) };
    let (data, out) = (name(b"data\xff.jsonl"), name(b"out\xff"));
    let [_, model, _, rows] = inputs(dir.path());
    std::fs::copy(rows, &data).expect("a copy");
    let mut command = Command::new(binary());
    command.args(["--model", &model]).arg("--data").arg(&data);
    command
        .arg("--out")
        .arg(&out)
        .args(["--smoke", "--prompts", "1", "--system", "none"]);
    let ended = output(command.args(["--max-new-tokens", "2"]));
    assert!(ended.status.success(), "{ended:?}");
    assert!(results(&out)["rows"][0]["dir"].is_string());
}

#[test]
fn limits_that_are_no_numbers_are_refused() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = text(&dir.path().join("out"));
    for (key, value) in [
        ("--max-grad-norm", "nan"),
        ("--max-grad-norm", "-1"),
        ("--weight-decay", "nan"),
        ("--eval-fraction", "nan"),
    ] {
        let argument = format!("{key}={value}");
        let ended = output(Command::new(binary()).args(["--smoke", &argument, "--out", &out]));
        mentions(
            &error_of(&ended).replace('_', "-"),
            &[key.trim_start_matches('-')],
        );
    }
    assert_eq!(entries(dir.path()), [""; 0]);
}
