//! The example `generate`.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::example::{checkpoint, error_of, example, mentions, text};
use crate::files::edit_tensors;

const QUESTION: &str = "Tom has 5 coins and gets 6 more. How many coins does he have?";

fn run(args: &[&str], lines: &str) -> Output {
    run_bytes(args, lines.as_bytes())
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).expect("one JSON document")
}

fn start(args: &[&str]) -> Child {
    Command::new(example("generate"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts")
}

fn run_bytes(args: &[&str], lines: &[u8]) -> Output {
    let mut child = start(args);
    let mut stdin = child.stdin.take().expect("piped");
    // It may refuse to start, and read nothing.
    let _ = stdin.write_all(lines);
    drop(stdin);
    child.wait_with_output().expect("the example ends")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

#[test]
fn one_answer_with_its_channels_and_figures() {
    let output = run(&["--prompt", QUESTION], "");
    assert!(output.status.success(), "{output:?}");
    let lines = stdout(&output);
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("[analysis] "), "{lines:?}");
    assert!(lines[1].starts_with("[final] "), "{lines:?}");
    mentions(&stderr(&output), &["tokens/s", "first token after"]);
}

#[test]
fn json_lines_hold_the_same() {
    let shown = stdout(&run(&["--prompt", QUESTION], ""));
    let output = run(&["--json", "--prompt", QUESTION], "");
    assert_eq!(stderr(&output), "");
    let line: Value = serde_json::from_str(&stdout(&output)).expect("one JSON document");
    assert_eq!(line["prompt"], QUESTION);
    assert_eq!(line["finish"], "stop token");
    assert!(line["new_tokens"].as_u64() > Some(10), "{line}");
    let [thinking, content] = ["thinking", "content"].map(|key| line[key].as_str().expect(key));
    assert_eq!(shown, format!("[analysis] {thinking}\n[final] {content}\n"));
}

/// What follows depends on what was said before.
#[test]
fn a_chat_remembers() {
    let follow = "And if he loses 2?";
    let chat = run(&["--json"], &format!("{QUESTION}\n\n{follow}\n"));
    let chat = stdout(&chat);
    let lines: Vec<Value> = chat
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2, "an empty line is not answered");
    let alone = run(&["--json", "--prompt", follow], "");
    let alone: Value = serde_json::from_str(&stdout(&alone)).expect("JSON");
    assert!(lines[1]["prompt_tokens"].as_u64() > alone["prompt_tokens"].as_u64());
}

#[test]
fn a_stop_string_ends_the_answer_before_it() {
    let whole: Value =
        serde_json::from_str(&stdout(&run(&["--json", "--prompt", QUESTION], ""))).expect("JSON");
    let content = whole["content"].as_str().expect("an answer");
    let stop = content.split_whitespace().nth(2).expect("three words");
    let output = run(&["--json", "--prompt", QUESTION, "--stop", stop], "");
    let line: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(line["finish"], "stop string");
    let before = content.split(stop).next().expect("a beginning");
    assert_eq!(line["content"], before);
}

#[test]
fn mistakes_are_named() {
    for (args, parts) in [
        (vec!["--prompt", " "], vec!["the prompt is empty"]),
        (
            vec!["--prompt", "a", "--stop-token", "<|stop|>"],
            vec!["tokenizer.json", "`<|stop|>`", "<|return|>"],
        ),
        (
            vec!["--prompt", "a", "--stop", ""],
            vec!["stop_strings", "empty"],
        ),
        (
            vec!["--prompt", "a", "--temperature", "-1"],
            vec!["temperature", "-1"],
        ),
        (
            vec!["--prompt", "a", "--model", "/nowhere"],
            vec!["/nowhere", "config.json"],
        ),
    ] {
        let error = error_of(&run(&args, ""));
        mentions(&error, &parts);
    }
}

/// What the banner suggests is answered right.
#[test]
fn the_suggested_question_has_its_answer() {
    let question = "Lisa has 5 coins and gets 4 more. How many coins does Lisa have now?";
    mentions(&stderr(&run(&[], "")), &[question]);
    let line: Value = json_of(&run(&["--json", "--prompt", question], ""));
    mentions(line["content"].as_str().expect("an answer"), &["9"]);
}

#[test]
fn answers_end_where_the_context_does() {
    let long = "word ".repeat(200);
    let output = run(
        &["--json", "--prompt", &long, "--max-new-tokens", "100000"],
        "",
    );
    let line = json_of(&output);
    let tokens = ["prompt_tokens", "new_tokens"].map(|key| line[key].as_u64().expect(key));
    assert!(tokens[0] + tokens[1] <= 1024, "{tokens:?}");
    let error = error_of(&run(&["--prompt", &"word ".repeat(2000)], ""));
    mentions(
        &error,
        &["leaves no room for an answer in the context of 1024"],
    );
}

/// Every line has its record, and scripts notice; bytes that are no text end nothing.
#[test]
fn lines_that_cannot_be_answered_are_reported_and_passed() {
    let lines = format!("{}\n/new\n{QUESTION}\n", "word ".repeat(2000));
    let output = run(&["--json"], &lines);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = stdout(&output);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    mentions(lines[0]["error"].as_str().expect("an error"), &["no room"]);
    let alone = json_of(&run(&["--json", "--prompt", QUESTION], ""));
    assert_eq!(lines[1]["content"], alone["content"]);
    let invalid = run_bytes(
        &["--json"],
        &[b"\xff\xfe bad\n", QUESTION.as_bytes()].concat(),
    );
    assert!(invalid.status.success(), "{invalid:?}");
    assert_eq!(stdout(&invalid).lines().count(), 2);
}

/// As with `| head`.
#[test]
fn a_reader_that_is_gone_is_no_failure() {
    for args in [vec!["--json"], vec![]] {
        let mut child = start(&args);
        drop(child.stdout.take());
        let mut stdin = child.stdin.take().expect("piped");
        // It may have ended before it has read all.
        let _ = stdin.write_all(format!("{QUESTION}\n{QUESTION}\n").as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("the example ends");
        assert!(output.status.success(), "{output:?}");
        assert!(!stderr(&output).contains("panicked"), "{output:?}");
    }
}

/// The tokenizer knows more tokens than the model.
#[test]
fn a_tokenizer_of_another_model_is_noticed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let model = checkpoint(dir.path());
    let error = error_of(&run(&["--model", &text(&model), "--prompt", "a"], ""));
    mentions(
        &error,
        &["`<|return|>` is token 1273", "below `vocab_size` = 512"],
    );
}

/// The embedded model, which can no longer end its turn.
fn endless(dir: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny-gpt-oss");
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(root.join(name), dir.join(name)).expect(name);
    }
    edit_tensors(&dir.join("model.safetensors"), |tensors| {
        let head = tensors.get_mut("lm_head.weight").expect("the head");
        let width = 2 * head.shape[1];
        // Rows of `<|return|>` and those behind it: their logits are 0.
        head.bytes[1273 * width..1275 * width].fill(0);
    });
    dir.to_path_buf()
}

#[test]
fn ctrl_c_ends_an_answer_with_what_was_said() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let model = text(&endless(dir.path()));
    let mut child = Command::new(example("generate"))
        .args([
            "--model",
            &model,
            "--prompt",
            QUESTION,
            "--max-new-tokens",
            "900",
            "--no-system-block",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    assert!(!out.fill_buf().expect("an answer begins").is_empty());
    let pid = child.id().to_string();
    Command::new("kill")
        .args(["-INT", &pid])
        .status()
        .expect("kill");
    let mut said = String::new();
    out.read_to_string(&mut said).expect("text");
    let output = child.wait_with_output().expect("the example ends");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(said.starts_with('['), "{said}");
    mentions(&stderr(&output), &["cancelled", "tokens/s"]);
}
