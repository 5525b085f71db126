//! Signals, readers that go away, and directories that two runs want.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use burn_gpt_oss::CheckpointReader;
use serde_json::Value;

use crate::example::{binary, entries, mentions, text};
use crate::recipe::{inputs, output, recipe, results, wait_for_lines};

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
    // Once: a run that has begun must not see its data written anew.
    let inputs = inputs(dir.path());
    let start = |seed: &str| {
        Command::new(binary())
            .current_dir(dir.path())
            .args(&inputs)
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
