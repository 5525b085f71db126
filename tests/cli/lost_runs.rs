//! Runs that used to lose what they had learned.

use std::process::{Command, Stdio};

use burn_gpt_oss::CheckpointReader;
use serde_json::Value;

use crate::example::{LINE, binary, entries, error_of, mentions, text};
use crate::recipe::{loss_of, output, recipe, results, wait_for_lines};

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
    let noise = r"ZqXjKv~^|`{}#@% ÿþœ‡ ﷽ ꙮ ".repeat(3);
    let line = |i| {
        LINE.replace("\"a\"", &format!("\"a{i}\""))
            .replace("\"b\"", &format!("\"{noise}{i}\""))
    };
    let lines = (0..20).map(line);
    let data = dir.path().join("noise.jsonl");
    std::fs::write(&data, lines.collect::<Vec<_>>().join("\n")).expect("a file");
    let data = text(&data);
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
