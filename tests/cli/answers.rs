//! Answers as models give them in the wild: nothing of them is lost, nothing reaches the terminal.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::example::{case, error_of, example, mentions, text};
use crate::files::copy_tree;

/// Runs `generate` on a model that says a fixed list of tokens.
fn said(name: &str, args: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("temporary directory");
    let archive = case(name).join("model.tar.gz");
    let unpacked = Command::new("tar")
        .args(["xzf", &text(&archive), "-C", &text(dir.path())])
        .status();
    assert!(unpacked.expect("tar").success());
    Command::new(example("generate"))
        .args(["--model", &text(dir.path()), "--no-system-block"])
        .args(["--prompt", "hi", "--max-new-tokens", "40"])
        .args(args)
        .output()
        .expect("the example starts")
}

fn shown(name: &str) -> String {
    String::from_utf8(said(name, &[]).stdout).expect("text")
}

fn json_of(name: &str) -> Value {
    serde_json::from_slice(&said(name, &["--json"]).stdout).expect("JSON")
}

#[test]
fn text_outside_of_the_format_is_shown_and_marked() {
    for (name, expected) in [
        (
            "chat_headerless_only",
            "[message, malformed]  Sorry, I will not do that.\n",
        ),
        ("chat_no_message", "[final, malformed] Sorry.\n"),
        (
            "chat_missing_start",
            "[analysis]  Sorry\n[final, malformed]  No.\n",
        ),
        ("chat_preamble", "[commentary]  Sorry.\n"),
    ] {
        assert_eq!(shown(name), expected, "{name}");
    }
    let answer = json_of("chat_headerless_only");
    assert_eq!(answer["content"], "");
    assert_eq!(answer["messages"][0]["text"], " Sorry, I will not do that.");
    assert_eq!(answer["messages"][0]["well_formed"], false);
    assert_eq!(answer["raw"], " Sorry, I will not do that.<|return|>");
    assert_eq!(json_of("chat_missing_start")["content"], " No.");
}

#[test]
fn json_has_calls_and_preambles() {
    let call = json_of("chat_call");
    let expected = json!([{"recipient": "functions.f", "name": "f", "arguments": "{\"x\":"}]);
    assert_eq!(call["tool_calls"], expected);
    assert_eq!(call["messages"][0]["channel"], "commentary");
    let preamble = json_of("chat_preamble");
    assert_eq!(preamble["preambles"], json!([" Sorry."]));
    assert_eq!(preamble["tool_calls"], json!([]));
}

/// Escape sequences would clear the screen and set the title.
#[test]
fn control_characters_are_made_visible() {
    let shown = shown("chat_escape");
    assert!(!shown.trim_end().contains(char::is_control), "{shown:?}");
    assert_eq!(shown, "[final] \u{241b}]0;owned\u{2407}\u{241b}[2J\n");
    let json = String::from_utf8(said("chat_escape", &["--json"]).stdout).expect("text");
    assert!(!json.trim_end().contains(char::is_control), "{json:?}");
    assert_eq!(
        json_of("chat_escape")["content"],
        "\u{1b}]0;owned\u{7}\u{1b}[2J"
    );
}

/// `generation_config.json` lists `<|endoftext|>`.
#[test]
fn stop_tokens_of_the_checkpoint_end_an_answer_and_are_no_text() {
    assert_eq!(shown("chat_endoftext_gc"), "[final]  Sorry\n");
    let answer = json_of("chat_endoftext_gc");
    assert_eq!(
        (&answer["content"], &answer["finish"]),
        (&json!(" Sorry"), &json!("stop token"))
    );
}

/// The recipe trains with a date in the system block; so does the chat, unless told otherwise.
#[test]
fn the_system_block_is_that_of_the_training() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny-gpt-oss");
    let run = |args: &[&str]| {
        let ended = Command::new(example("generate"))
            .args(["--model", &text(&model), "--prompt", "hi", "--json"])
            .args(["--max-new-tokens", "1"])
            .args(args)
            .output()
            .expect("the example starts");
        let line: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
        line["prompt_tokens"].as_u64().expect("a number")
    };
    assert_eq!(run(&[]), run(&["--date", "2025-08-05"]));
    assert_eq!(run(&[]), 142);
}

#[test]
fn errors_are_json_where_answers_are() {
    for args in [
        &["--prompt", ""][..],
        &["--prompt", "a", "--model", "/nowhere"],
    ] {
        let ended = Command::new(example("generate"))
            .arg("--json")
            .args(args)
            .output();
        let ended = ended.expect("the example starts");
        assert_eq!(ended.status.code(), Some(1));
        let line: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
        assert!(line["error"].is_string(), "{line}");
    }
}

#[test]
fn a_full_standard_error_is_no_failure() {
    let script = format!("echo | '{}' 2>/dev/full", example("generate").display());
    let ended = Command::new("bash")
        .args(["-c", &script])
        .output()
        .expect("bash");
    assert!(ended.status.success(), "{ended:?}");
}

/// Names in files are text of strangers, too.
#[test]
fn errors_do_not_move_the_cursor() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let model = dir.path().join("model");
    copy_tree("assets/tiny-gpt-oss", &model);
    crate::files::edit_tensors(&model.join("model.safetensors"), |tensors| {
        let raw = tensors.remove("model.norm.weight").expect("a tensor");
        tensors.insert("\u{1b}[2J".into(), raw);
    });
    let ended = Command::new(example("generate"))
        .args(["--model", &text(&model), "--prompt", "a"])
        .output()
        .expect("the example starts");
    let error = error_of(&ended);
    assert!(!error.trim_end().contains(char::is_control), "{error:?}");
    mentions(&error, &["model.norm.weight"]);
}

/// A weight that is NaN is not searched for at the start; where it breaks an answer, it is named.
#[test]
fn a_broken_weight_is_named_where_it_breaks_an_answer() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let model = dir.path().join("model");
    copy_tree("assets/tiny-gpt-oss", &model);
    crate::files::edit_tensors(&model.join("model.safetensors"), |tensors| {
        let head = tensors.get_mut("lm_head.weight").expect("the head");
        head.bytes[..2].copy_from_slice(&[0xc0, 0x7f]);
    });
    let ended = Command::new(example("generate"))
        .args(["--model", &text(&model), "--prompt", "a"])
        .output()
        .expect("the example starts");
    mentions(&error_of(&ended), &["lm_head.weight", "row [0]", "logit"]);
}

/// Rotations that differ give different answers: an ignored key would give the same.
#[test]
fn keys_of_the_rotation_are_not_ignored() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let logits = |name: &str, config: Option<&str>| {
        let model = dir.path().join(name);
        copy_tree("assets/tiny-gpt-oss", &model);
        if let Some(case_name) = config {
            let changed = case(case_name).join("config.json");
            std::fs::copy(changed, model.join("config.json")).expect("a copy");
        }
        let file = dir.path().join(format!("{name}.safetensors"));
        let ended = Command::new(example("export_logits"))
            .args([&model, &file])
            .output()
            .expect("the example starts");
        assert!(ended.status.success(), "{ended:?}");
        crate::files::read_tensors(&file)["logits"].bytes.clone()
    };
    let plain = logits("plain", None);
    assert_ne!(logits("factor", Some("ck_attn_factor")), plain);
    assert_eq!(logits("type", Some("ck_rope_type_old")), plain);
    assert_eq!(logits("mark", Some("ck_cfg_bom")), plain);
}
