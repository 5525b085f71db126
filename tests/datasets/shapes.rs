use burn_gpt_oss::HarmonyVariant::{Library, Template};
use burn_qat_train::{ChatDataset, ColumnMap, ReadOptions, read_dataset};

use super::{file, rendered};

fn read(name: &str) -> ChatDataset {
    let read = read_dataset(file(name), &ReadOptions::default());
    read.unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn texts(name: &str) -> Vec<String> {
    let records = read(name).records;
    records
        .iter()
        .map(|record| rendered(record, Template))
        .collect()
}

const SEVEN: &str = "<|start|>user<|message|>What is 3 + 4?<|end|><|start|>assistant[<|channel|>analysis\
    <|message|>Three and four are seven.<|end|>]<|start|>assistant[<|channel|>final<|message|>It is 7.<|return|>]";
const COLOUR: &str = "<|start|>developer<|message|># Instructions\n\nBe brief.\n\n<|end|><|start|>user<|message|>\
    Name a colour.<|end|><|start|>assistant[<|channel|>final<|message|>Blue.<|return|>]";
const KIND: &str = "<|start|>developer<|message|># Instructions\n\nreasoning language: French\n\nBe kind.\n\n<|end|>\
    <|start|>user<|message|>What is 3 + 4?<|end|><|start|>assistant[<|channel|>analysis<|message|>\
    Trois plus quatre font sept.<|end|>]<|start|>assistant[<|channel|>final<|message|>It is 7.<|return|>]";
const WEATHER: &str = "# Tools\n\n## functions\n\nnamespace functions {\n\n// Tells the weather.\ntype weather = (_: \
    {\ncity: string,\n}) => any;\n\n} // namespace functions<|end|>";

#[test]
fn messages_are_the_same_in_every_container() {
    for name in [
        "messages.jsonl",
        "array.json",
        "messages.jsonl.gz",
        "messages.jsonl.zst",
    ] {
        assert_eq!(texts(name), [SEVEN, COLOUR], "{name}");
    }
}

#[test]
fn a_pattern_reads_all_its_files_in_order() {
    let dataset = read("messages.jsonl*");
    assert_eq!(dataset.records.len(), 6);
    let lines: Vec<_> = dataset.records.iter().map(|record| record.line).collect();
    assert_eq!(lines, [1, 2, 1, 2, 1, 2].map(Some));
}

#[test]
fn share_gpt_has_calls_and_tools() {
    let expected = format!(
        "<|start|>developer<|message|># Instructions\n\nBe brief.\n\n{WEATHER}<|start|>user<|message|>Weather in \
         Oslo?<|end|><|start|>assistant[ to=functions.weather<|channel|>commentary json<|message|>\
         {{\"city\": \"Oslo\"}}<|call|>]<|start|>functions.weather to=assistant<|channel|>commentary<|message|>\
         \"rain\"<|end|><|start|>assistant[<|channel|>final<|message|>It rains.<|return|>]"
    );
    assert_eq!(texts("sharegpt.jsonl"), [expected]);
}

#[test]
fn a_prompt_is_not_trained() {
    let texts = texts("prompt_completion.jsonl");
    assert_eq!(
        texts[0],
        "<|start|>user<|message|>The capital of Norway?<|end|><|start|>assistant[<|channel|>final<|message|>\
         Oslo.<|return|>]"
    );
    let earlier = "<|start|>assistant<|channel|>final<|message|>Hello.<|end|>";
    assert!(texts[1].contains(earlier), "{}", texts[1]);
    assert!(texts[1].ends_with("[<|channel|>final<|message|>Goodbye.<|return|>]"));
}

#[test]
fn alpaca_joins_instruction_and_input() {
    let texts = texts("alpaca.jsonl");
    assert!(
        texts[0].contains("Translate to French.\n\ncat<|end|>"),
        "{}",
        texts[0]
    );
    assert!(texts[1].contains("Name a tree.<|end|>"), "{}", texts[1]);
}

#[test]
fn plain_text_is_trained_whole() {
    let texts = texts("text.jsonl");
    assert!(
        texts[0].starts_with("[Oslo is the capital of Norway."),
        "{}",
        texts[0]
    );
    assert!(!texts[0].contains("<|start|>"));
}

#[test]
fn published_datasets_map_by_their_columns() {
    assert_eq!(texts("multilingual_thinking.jsonl"), [KIND]);
    assert!(read("multilingual_thinking.jsonl").notes.is_empty());
    assert_eq!(texts("thinking_columns.jsonl"), [KIND]);
    let rejected = texts("false_reject.jsonl");
    let reasoned = "[<|channel|>analysis<|message|>A process of a computer; harmless.<|end|>]";
    assert!(rejected[0].contains(reasoned), "{}", rejected[0]);
    assert!(rejected[0].ends_with("Use `kill PID`.<|return|>]"));
    assert!(
        rejected[1].ends_with("assistant[<|channel|>final<|message|>Press the button.<|return|>]")
    );
    assert!(read("false_reject.jsonl").notes.is_empty());
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_is_read_like_its_rows() {
    assert_eq!(texts("multilingual_thinking.parquet"), [KIND]);
}

#[test]
fn other_columns_are_mapped() {
    let pairs = [("prompt", "question"), ("completion", "reply")];
    let owned = |(ours, theirs): (&str, &str)| (ours.to_owned(), theirs.to_owned());
    let options = ReadOptions {
        columns: ColumnMap(pairs.map(owned).into()),
        ..ReadOptions::default()
    };
    let dataset = read_dataset(file("other_columns.jsonl"), &options).expect("a dataset");
    assert!(rendered(&dataset.records[0], Template).contains("The capital of Norway?<|end|>"));
    let notes: Vec<String> = dataset.notes.iter().map(ToString::to_string).collect();
    assert_eq!(notes, ["key `id` of the row is not used: once (line 1)"]);
}

#[test]
fn calls_and_results_have_the_headers_of_either_variant() {
    let dataset = read("tools.jsonl");
    let template = rendered(&dataset.records[0], Template);
    assert!(
        template.contains(&format!("<|start|>developer<|message|>{WEATHER}")),
        "{template}"
    );
    assert!(
        template.contains("json<|message|>{\"city\": \"Oslo\"}<|call|>]"),
        "{template}"
    );
    let library = rendered(&dataset.records[0], Library);
    assert!(
        library.contains(" <|constrain|>json<|message|>{\"city\":\"Oslo\"}<|call|>]"),
        "{library}"
    );
    assert!(
        library.contains("to=assistant<|channel|>commentary<|message|>rain<|end|>"),
        "{library}"
    );
    let notes: Vec<String> = dataset.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        ["`arguments` of a call are a text, read as JSON: once (line 1)"]
    );
}

#[test]
fn parts_of_a_content_are_one_text() {
    assert!(texts("parts.jsonl")[0].contains("<|message|>What is 3 + 4?<|end|>"));
}

/// Also where a row says so as a whole, whatever its shape.
#[test]
fn rows_that_are_not_trained_have_no_trained_token() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("data.jsonl");
    for row in [
        r#"{"text": "abc", "train": false}"#,
        r#"{"prompt": "a", "completion": "b", "weight": 0}"#,
        r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": 0}]}"#,
    ] {
        std::fs::write(&path, row).expect("a file");
        let dataset = read_dataset(&path, &ReadOptions::default()).expect(row);
        assert!(
            !rendered(&dataset.records[0], Template).contains('['),
            "{row}"
        );
    }
}

/// A byte order mark, CRLF, a blank line, and a line separator of Unicode within a text.
#[test]
fn bytes_of_other_systems_are_no_rows() {
    let dataset = read("odd_bytes.jsonl");
    assert_eq!(dataset.records.len(), 2);
    assert_eq!(
        dataset.records[0].messages[0].content.text(),
        "one\u{2028}two"
    );
    assert_eq!(dataset.records[1].line, Some(3));
}

#[test]
fn messages_say_whether_they_are_trained() {
    for text in texts("untrained.jsonl") {
        assert!(
            text.contains("<|start|>assistant<|channel|>final<|message|>wrong<|end|>"),
            "{text}"
        );
        assert!(
            text.contains("[<|channel|>final<|message|>right<|return|>]"),
            "{text}"
        );
    }
}
