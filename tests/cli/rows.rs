//! Rows of a dataset as people have them: used, or refused with the reason, never bent.

use std::path::Path;
use std::process::Command;

use crate::example::{LINE, binary, case, error_of, mentions, text};

/// What the recipe says about a file: code, standard output, standard error.
fn recipe(data: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny-gpt-oss");
    let ended = Command::new(binary())
        .args(["--model", &text(&model), "--data", &text(data)])
        .args(["--smoke", "--prompts", "1", "--system", "none"])
        .args(["--out", &text(&dir.path().join("out"))])
        .args(match args.contains(&"--max-new-tokens") {
            true => &[][..],
            false => &["--max-new-tokens", "4"],
        })
        .args(args)
        .output()
        .expect("the example starts");
    if ended.status.code() == Some(1) {
        let error = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(
            error.contains("error: ") && !error.contains("panicked"),
            "{error}"
        );
    }
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        ended.status.code(),
        words(&ended.stdout),
        words(&ended.stderr),
    )
}

fn accepted(name: &str, args: &[&str]) -> (String, String) {
    let (code, said, notes) = recipe(&case(name).join("data.jsonl"), args);
    assert_eq!(code, Some(0), "{name}: {said}{notes}");
    (said, notes)
}

/// The validation loss of the model as it was given.
fn loss(said: &str) -> String {
    let line = said.lines().find(|line| line.starts_with("Original:"));
    let line = line.expect("an evaluation");
    line.split(',').next().expect("a loss").to_owned()
}

#[test]
fn reasoning_under_other_names_is_reasoning() {
    let (under_another_name, notes) = accepted("data_reasoning_content", &[]);
    let (under_its_name, _) = accepted("data_bom", &[]);
    assert_eq!(loss(&under_another_name), loss(&under_its_name));
    assert_eq!(notes, "");
}

#[test]
fn answers_that_are_not_to_be_trained_are_not() {
    let (with_weights, notes) = accepted("data_weight0", &[]);
    assert_eq!(notes, "");
    let dir = tempfile::tempdir().expect("temporary directory");
    let data = dir.path().join("data.jsonl");
    let rows = std::fs::read_to_string(case("data_weight0").join("data.jsonl")).expect("rows");
    let replaced = |by: &str| {
        let replaced = rows.replace("\"weight\": 0", by);
        assert_ne!(replaced, rows);
        std::fs::write(&data, replaced).expect("a file");
        loss(&recipe(&data, &[]).1)
    };
    for same in [
        "\"train\": false",
        "\"trainable\": false",
        "\"loss_mask\": 0",
    ] {
        assert_eq!(replaced(same), loss(&with_weights), "{same}");
    }
    assert_ne!(replaced("\"weight\": 1"), loss(&with_weights));
}

#[test]
fn what_is_allowed_and_hardly_meant_is_told_once() {
    for (name, args, part) in [
        ("data_empty_answer", &[][..], "empty answer"),
        (
            "data_truncated",
            &["--max-length", "60"],
            "cut within an answer, at 60 tokens",
        ),
    ] {
        let (_, notes) = accepted(name, args);
        assert_eq!(notes.lines().count(), 1, "{name}: {notes}");
        mentions(&notes, &["note: ", part, "2 times (lines 1, 2)"]);
    }
}

/// Shapes of other programs, calls of tools, contents in parts.
#[test]
fn what_other_programs_write_is_trained() {
    let text = "`arguments` of a call are a text, read as JSON: 2 times (lines 1, 2)";
    for (name, note) in [
        ("data_array", ""),
        ("data_parts", ""),
        ("data_sharegpt", ""),
        ("data_tool_calls_last", text),
        ("data_tool_null", text),
        ("data_tool_noname", text),
    ] {
        let (_, notes) = accepted(name, &[]);
        assert!(
            notes.contains(note) && notes.lines().count() == usize::from(!note.is_empty()),
            "{name}: {notes}"
        );
    }
}

/// What was trained would be all that is measured.
#[test]
fn copies_of_one_conversation_are_no_dataset() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let data = dir.path().join("data.jsonl");
    std::fs::write(&data, [LINE; 20].join("\n")).expect("a file");
    let (code, _, error) = recipe(&data, &[]);
    assert_eq!(code, Some(1));
    mentions(&error, &["18 times", "copies of those that are held out"]);
}

#[test]
fn what_cannot_be_used_is_refused_with_the_way_out() {
    for (name, parts) in [
        ("data_latin1", ["data.jsonl:1", "0xe9"]),
        ("data_markup", ["rendered already", "--skip-bad-rows"]),
        ("data_two_systems", ["message 1", "second system message"]),
        (
            "data_long_prompt",
            ["`max_length` is 1024", "room for at least one"],
        ),
    ] {
        let (code, _, error) = recipe(&case(name).join("data.jsonl"), &[]);
        assert_eq!(code, Some(1), "{name}: {error}");
        mentions(&error, &parts);
    }
}

/// One long prompt among others is left out, not a reason to stop.
#[test]
fn a_prompt_beyond_the_context_is_counted_and_left_out() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let data = dir.path().join("data.jsonl");
    let long = std::fs::read_to_string(case("data_long_prompt").join("data.jsonl")).expect("rows");
    let short = std::fs::read_to_string(case("data_bom").join("data.jsonl")).expect("rows");
    let short = short.trim_start_matches('\u{feff}');
    let short: String = ["Lisa", "Anna", "Paul", "Omar"]
        .map(|name| short.replace("Lisa", name))
        .concat();
    std::fs::write(&data, format!("{short}{long}")).expect("a file");
    let (code, said, notes) = recipe(&data, &[]);
    assert_eq!(code, Some(0), "{notes}");
    mentions(
        &notes,
        &["first 1024 tokens are all prompt, dropped: 2 times (lines 9, 10)"],
    );
    mentions(&said, &["7 conversations to train on, 1 held out"]);
    // Room for the prompt and none for the answer.
    let (code, _, notes) = recipe(&data, &["--max-new-tokens", "1000"]);
    assert_eq!(code, Some(1), "{notes}");
    mentions(&notes, &["not answered", "--max-new-tokens 1000"]);
}

#[test]
fn bad_rows_can_be_left_out_and_are_counted() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let data = dir.path().join("data.jsonl");
    let bad = std::fs::read_to_string(case("data_two_systems").join("data.jsonl")).expect("rows");
    let good = std::fs::read_to_string(case("data_bom").join("data.jsonl")).expect("rows");
    std::fs::write(&data, format!("{good}{bad}[1]\n{{\n")).expect("a file");
    let (code, said, notes) = recipe(&data, &["--skip-bad-rows"]);
    assert_eq!(code, Some(0), "{notes}");
    mentions(
        &notes,
        &[
            "row skipped",
            "second system message",
            "2 times (lines 3, 4)",
            "(line 5)",
            "(line 6)",
        ],
    );
    mentions(&said, &["1 conversations to train on, 1 held out"]);
}

/// If nothing is left, the reason is not left out, too.
#[test]
fn a_file_of_bad_rows_says_why() {
    let data = case("data_two_systems").join("data.jsonl");
    let (code, _, error) = recipe(&data, &["--skip-bad-rows"]);
    assert_eq!(code, Some(1));
    mentions(
        &error,
        &["no conversation that can be used", "second system message"],
    );
}

/// Keys that would change the training and are not offered are not merely "not used".
#[test]
fn keys_that_would_change_the_training_are_refused() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let data = dir.path().join("data.jsonl");
    for (key, value) in [("audio", "[1]"), ("images", "[1]"), ("weight", "0.5")] {
        let messages = r#"[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]"#;
        let row = format!("{{\"messages\":{messages},\"{key}\":{value}}}\n");
        std::fs::write(&data, row.repeat(4)).expect("a file");
        let (code, _, error) = recipe(&data, &[]);
        assert_eq!(code, Some(1), "{key}");
        mentions(&error, &["data.jsonl:1", key]);
    }
}

/// Keys are text of strangers: they do not move the cursor.
#[test]
fn control_characters_of_keys_are_made_visible() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let data = dir.path().join("data.jsonl");
    let row = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"\u001b[2J":1}"#;
    std::fs::write(&data, [row; 4].join("\n")).expect("a file");
    let (_, _, notes) = recipe(&data, &[]);
    assert!(
        notes.contains("\u{241b}[2J") && !notes.contains('\u{1b}'),
        "{notes:?}"
    );
}

#[test]
fn keys_that_are_not_used_are_named_once_with_a_count() {
    let (_, notes) = accepted("run_best_not_last", &[]);
    let used_up: Vec<&str> = notes.lines().collect();
    let dir = tempfile::tempdir().expect("temporary directory");
    let data = dir.path().join("data.jsonl");
    let row = r#"{"messages":[{"role":"user","content":"a","id":3},{"role":"assistant","content":"b","thinking":"c"}],"source":"x","empty":null}"#;
    let rows: Vec<String> = (0..20)
        .map(|i| row.replace("\"a\"", &format!("\"a{i}\"")))
        .collect();
    std::fs::write(&data, rows.join("\n")).expect("a file");
    let (code, _, notes) = recipe(&data, &[]);
    assert_eq!(code, Some(0), "{notes}");
    let told: Vec<&str> = notes.lines().collect();
    assert_eq!(told.len(), 2, "{used_up:?} {notes}");
    mentions(
        &notes,
        &["`source`", "`id`", "20 times (lines 1, 2, 3, ...)"],
    );
}

#[test]
fn files_that_are_no_text_are_named() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let data = dir.path().join("data.jsonl");
    let big: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let utf16: Vec<u8> = "{\"messages\": []}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for (bytes, part) in [
        (&b"\x1f\x8b\x08\x00rest"[..], "decompress failed"),
        (b"PAR1rest", "Parquet"),
        (b"PK\x03\x04rest", "ZIP"),
        (&[&[0xff, 0xfe][..], &utf16].concat(), "UTF-16"),
        (&utf16, "-f UTF-16LE"),
        (&big, "-f UTF-16BE"),
        (
            b"{\"messages\": [], \"messages\": []}\n",
            "`messages` stands twice",
        ),
        (b"{\n  \"messages\": []\n}\n", "jq -c ."),
        (b"[\n  {\"messages\": []}\n]\n", "at least one message"),
        (
            b"[{\"role\": \"user\", \"content\": \"a\"}]\n",
            "this is a message",
        ),
        (b"\n \n", "no conversation"),
    ] {
        std::fs::write(&data, bytes).expect("a file");
        let (code, _, error) = recipe(&data, &[]);
        assert_eq!(code, Some(1), "{part}: {error}");
        mentions(&error, &["data.jsonl", part]);
    }
}

#[test]
fn a_context_without_room_is_a_wrong_setting() {
    let data = case("run_best_not_last").join("data.jsonl");
    let (code, _, error) = recipe(&data, &["--max-new-tokens", "5000"]);
    assert_eq!(code, Some(1));
    mentions(&error, &["5000", "context of 1024"]);
    let ended = Command::new(binary())
        .args(["--model", "x"])
        .output()
        .expect("a start");
    mentions(&error_of(&ended), &["x"]);
}
