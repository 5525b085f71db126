//! `convert` and `validate` as programs: killed, out of space, and their exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;

use crate::example::{error_of, example, mentions};
use crate::files::all_tensors;

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny-gpt-oss")
}

fn convert(out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(example("convert"));
    command
        .arg(model())
        .args(["--to", "compressed-nvfp4", "--shard-gb", "0.0001"]);
    command.arg("--out").arg(out).args(more);
    command
}

fn validate(path: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(example("validate"));
    command.arg(path).args(more).output().expect("it starts")
}

/// Killed again and again, it still ends with the files of an undisturbed run.
#[test]
fn a_killed_conversion_goes_on() {
    let temp = TempDir::new().expect("temporary directory");
    let (whole, out) = (temp.path().join("whole"), temp.path().join("out"));
    assert!(
        convert(&whole, &[])
            .output()
            .expect("it starts")
            .status
            .success()
    );
    for turn in 1..8 {
        let mut child = convert(&out, &[]).spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(12 * turn));
        // One that has ended already is no fault of the test.
        let _ = child.kill();
        let _ = child.wait();
        if out.exists() {
            std::fs::remove_dir_all(&out).expect("removed");
        }
    }
    let output = convert(&out, &[]).output().expect("it starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(all_tensors(&out) == all_tensors(&whole));
    let compared = validate(&out, &["--against", &model().display().to_string()]);
    assert_eq!(
        compared.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&compared.stdout)
    );
}

/// A limit on the size of files stands for a full disk: what is written is an error, and nothing has the name of the target.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing_under_the_name() {
    let temp = TempDir::new().expect("temporary directory");
    let out = temp.path().join("out");
    let script = format!(
        "trap '' XFSZ; ulimit -f 600; exec '{}' '{}' --to gguf --out '{}'",
        example("convert").display(),
        model().display(),
        out.display()
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .output()
        .expect("a shell");
    mentions(&error_of(&output), &["model.gguf", "write failed"]);
    assert!(!out.exists());
    let again = Command::new(example("convert"))
        .arg(model())
        .args(["--to", "gguf", "--out"])
        .arg(&out)
        .output();
    assert!(again.expect("it starts").status.success());
    let report = validate(&out.join("model.gguf"), &["--engine", "llama.cpp"]);
    assert_eq!(
        report.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&report.stdout)
    );
}

#[test]
fn exit_codes_tell_scripts() {
    let code = |output: Output| output.status.code();
    assert_eq!(code(validate(&model(), &["--engine", "vllm"])), Some(0));
    let temp = TempDir::new().expect("temporary directory");
    let out = temp.path().join("out");
    assert!(
        convert(&out, &[])
            .output()
            .expect("it starts")
            .status
            .success()
    );
    // Sound, but no engine loads it.
    assert_eq!(code(validate(&out, &[])), Some(0));
    let report = validate(&out, &["--engine", "sglang", "--json"]);
    assert_eq!(report.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&report.stdout).expect("JSON");
    assert_eq!(json["sound"], true);
    assert_eq!(json["engines"][1]["verdict"], "noise");
    std::fs::write(out.join("config.json"), "{").expect("written");
    assert_eq!(code(validate(&out, &[])), Some(1));
    assert_eq!(code(validate(&temp.path().join("nothing"), &[])), Some(2));
}

#[test]
fn wrong_arguments_are_named() {
    let temp = TempDir::new().expect("temporary directory");
    let out = temp.path().join("out");
    let run = |args: &[&str]| {
        let mut command = Command::new(example("convert"));
        command.arg(model()).arg("--out").arg(&out).args(args);
        command.output().expect("it starts")
    };
    for (args, parts) in [
        (
            &["--to", "mxfp4", "--scale-rule", "best"][..],
            &["--scale-rule", "best", "ceil"][..],
        ),
        (
            &["--to", "bf16", "--scale-rule", "ceil"],
            &["--scale-rule", "bf16"],
        ),
        (&["--to", "mxfp4", "--shard-gb", "0"], &["--shard-gb"]),
        (&["--to", "gguf", "--adapter", "x"], &["--adapter", "gguf"]),
    ] {
        mentions(&error_of(&run(args)), parts);
    }
    assert!(!out.exists());
}
