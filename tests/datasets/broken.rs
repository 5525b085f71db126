use burn_qat_train::{BadRows, ReadOptions, read_dataset};

/// What is said of a file with these bytes.
fn error(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("data.jsonl");
    std::fs::write(&path, bytes).expect("a file");
    let error = read_dataset(&path, &ReadOptions::default()).expect_err("refused");
    let error = error.to_string();
    assert!(
        error.contains("data.jsonl"),
        "the file is not named: {error}"
    );
    error
}

/// A row of messages, the second of which is broken.
fn row(second: &str) -> String {
    format!(r#"{{"messages": [{{"role": "user", "content": "a"}}, {second}]}}"#)
}

const ANSWER: &str = r#"{"role": "assistant", "content": "b"}"#;

/// Rows and the words that must be in what is said of them.
#[test]
fn rows_that_cannot_be_used_are_refused_with_the_reason() {
    let call = |call: &str| {
        row(&format!(
            r#"{{"role": "assistant", "tool_calls": [{call}]}}"#
        ))
    };
    let cases: Vec<(String, &[&str])> = vec![
        (
            "{\"messages\": []}".into(),
            &[":1:", "at least one message"],
        ),
        ("{\"messages\": \"hi\"}".into(), &["must be a list"]),
        ("{}".into(), &["the object is empty"]),
        ("5".into(), &["a number", "object"]),
        (
            "{\"question\": \"a\", \"reply\": \"b\"}".into(),
            &["`question`", "dataset.columns"],
        ),
        (
            "{\"chosen\": [], \"rejected\": []}".into(),
            &["preference pair", "jq"],
        ),
        (
            "{\"role\": \"user\", \"content\": \"a\"}".into(),
            &["this is a message"],
        ),
        (
            "{\"text\": \"<|start|>user<|message|>a<|end|>\"}".into(),
            &["rendered", "`messages`"],
        ),
        ("{\"text\": \"\"}".into(), &["`text` is empty"]),
        (
            "{\"messages\": [], \"messages\": []}".into(),
            &["`messages` stands twice"],
        ),
        (
            row(r#"{"role": "critic", "content": "b"}"#),
            &["message 1", "\"critic\"", "`assistant`"],
        ),
        (
            row(r#"{"content": "b"}"#),
            &["message 1", "`role` is missing"],
        ),
        (
            row(r#"{"role": "assistant"}"#),
            &["message 1", "`content` is missing"],
        ),
        (
            row(r#"{"role": "assistant", "content": 5}"#),
            &["message 1", "a number"],
        ),
        (
            row(r#"{"role": "assistant", "content": {"a": 1}}"#),
            &["an object", "a text is needed"],
        ),
        (
            row(r#"{"role": "assistant", "content": [{"type": "image_url", "image_url": {}}]}"#),
            &["`image_url`", "only text"],
        ),
        (
            row(r#"{"role": "user", "content": "b"}"#),
            &["no message of role `assistant`"],
        ),
        (
            row(r#"{"role": "system", "content": "b"}, {"role": "assistant", "content": "c"}"#),
            &["second system"],
        ),
        (
            row(r#"{"role": "developer", "content": "b"}, {"role": "assistant", "content": "c"}"#),
            &["message 1", "drops a developer message"],
        ),
        (
            row(r#"{"role": "tool", "content": "b"}, {"role": "assistant", "content": "c"}"#),
            &["without a call"],
        ),
        (
            row(r#"{"role": "assistant", "content": "b", "weight": 0.5}"#),
            &["`weight` is 0.5"],
        ),
        (
            row(r#"{"role": "assistant", "content": "b", "channel": "thoughts"}"#),
            &["`thoughts`", "commentary"],
        ),
        (
            row(r#"{"role": "assistant", "content": "<|channel|>final<|message|>b"}"#),
            &["rendered already", "`thinking`"],
        ),
        (
            row(
                r#"{"role": "user", "content": "x", "thinking": "b"}, {"role": "assistant", "content": "c"}"#,
            ),
            &["only assistant messages"],
        ),
        (
            row(r#"{"role": "assistant", "content": "b", "thinking": "c", "reasoning": "d"}"#),
            &["two different reasonings"],
        ),
        (call(r#"{"name": "f"}"#), &["no `arguments`"]),
        (
            call(r#"{"name": "f", "arguments": "{"}"#),
            &["`arguments` of the call of `f` are not JSON"],
        ),
        (
            call(r#"{"name": "f", "arguments": [1]}"#),
            &["a list", "an object is needed"],
        ),
        (
            call(r#"{"name": "python", "arguments": {}}"#),
            &["built-in tool", "`recipient`"],
        ),
        (
            call(
                r#"{"id": "x", "name": "f", "arguments": {}}]}, {"role": "tool", "tool_call_id": "y", "content": "r"}, {"role": "assistant", "content": "b", "tool_calls": ["#,
            ),
            &["`tool_call_id` y"],
        ),
        (
            "{\"text\": \"a\", \"system\": \"b\"}".into(),
            &["a plain `text` has no system message"],
        ),
        (
            call(r#"{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}"#),
            &["drops all calls", "`library`"],
        ),
        (
            format!(r#"{{"tools": [{{"type": "web_search"}}], "messages": [{ANSWER}]}}"#),
            &["`tools`", "`web_search`"],
        ),
        (
            format!(
                r#"{{"chat_template_kwargs": {{"enable_thinking": true}}, "messages": [{ANSWER}]}}"#
            ),
            &["`enable_thinking`"],
        ),
        (
            format!(r#"{{"reasoning_effort": "max", "messages": [{ANSWER}]}}"#),
            &["low, medium or high"],
        ),
        (
            format!(r#"{{"images": ["x"], "messages": [{ANSWER}]}}"#),
            &["`images`", "remove it"],
        ),
        (
            r#"{"conversations": [{"from": "narrator", "value": "a"}]}"#.into(),
            &["\"narrator\"", "`human`"],
        ),
        (
            r#"{"conversations": [{"from": "function_call", "value": "call it"}]}"#.into(),
            &["not JSON"],
        ),
        (
            "{\"messages\": [".into(),
            &["beginning of an object over several lines"],
        ),
        ("[1, 2]".into(), &["a number"]),
        ("[{\"messages\": []".into(), &["broken behind row 0"]),
    ];
    for (row, words) in cases {
        let error = error(row.as_bytes());
        for word in words {
            assert!(
                error.contains(word),
                "`{word}` is missing for {row}:\n{error}"
            );
        }
    }
}

#[test]
fn files_that_are_no_text_are_named() {
    for (bytes, words) in [
        (&b""[..], &["no conversation"][..]),
        (b"\n\n", &["no conversation"]),
        (b"PK\x03\x04rest", &["ZIP", "unpack"]),
        (b"BZh91AY", &["bzip2", "bunzip2"]),
        (b"\xff\xfe{\0", &["UTF-16", "iconv"]),
        (b"{\0\"\0", &["UTF-16LE"]),
        (b"{\"text\": \"na\xefve\"}", &["0xef", "WINDOWS-1252"]),
        (b"\x1f\x8b\x08\x00broken", &["decompress"]),
    ] {
        let error = error(bytes);
        for word in words {
            assert!(error.contains(word), "`{word}` is missing:\n{error}");
        }
    }
}

/// The array ends within its second row.
#[test]
fn a_broken_array_names_the_row_before_the_break() {
    let error = error(format!("[{}, {{\"messages\": ", row(ANSWER)).as_bytes());
    assert!(error.contains("broken behind row 1"), "{error}");
}

#[test]
fn bad_rows_are_skipped_and_counted_by_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("data.jsonl");
    let rows = [&row(ANSWER), "{}", &row(ANSWER), "{}", "not JSON"];
    std::fs::write(&path, rows.join("\n")).expect("a file");
    let options = ReadOptions {
        bad_rows: BadRows::Skip,
        ..ReadOptions::default()
    };
    let dataset = read_dataset(&path, &options).expect("two rows");
    assert_eq!(dataset.records.len(), 2);
    let notes: Vec<String> = dataset.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes[0],
        "row skipped: `messages` is missing, the object is empty: twice (lines 2, 4)"
            .replace("twice", "2 times")
    );
    assert!(notes[1].starts_with("row skipped: not JSON"), "{notes:?}");
}
