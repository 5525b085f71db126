use burn_gpt_oss::{HarmonyDecoder, parse_completion};
use serde_json::Value;

use super::golden::{assert_keys, list, load, read, text};

/// `lenient`, `stream` and `stream_lenient` belong to the full parser of a later version.
const KEYS: [&str; 9] = [
    "id",
    "covers",
    "role",
    "tokens",
    "text",
    "strict",
    "lenient",
    "stream",
    "stream_lenient",
];

/// Completions that are read differently on purpose: the library reads on after the end of the turn,
/// and an unknown id swallows the rest of the content there.
const DIFFERENT: [&str; 2] = ["after_return", "id_out_of_range_content"];

/// Completions with recipients: tool calls are left out of a `Completion` in this version.
const CALLS_LATER: [&str; 17] = [
    "call_recipient_in_channel",
    "call_recipient_in_role",
    "call_template_style",
    "call_no_space_constrain",
    "call_no_type",
    "call_bare_recipient",
    "call_bare_recipient_type",
    "call_role_repeated",
    "preamble",
    "channel_twice",
    "newlines_in_header",
    "constrain_only",
    "empty_recipient",
    "random_5",
    "random_16",
    "random_17",
    "random_22",
];

/// Whole conversations and streams that start with `<|start|>` are no completions; malformed streams
/// have no messages to compare with.
fn is_completion(case: &Value) -> bool {
    case["role"] == "assistant" && case["strict"].get("messages").is_some()
}

pub fn check<D: HarmonyDecoder>(decoder: &D) {
    let file = load("parse.json");
    assert_keys("parse.json", &file, &["format", "cases"]);
    let cases = list(&file, "cases");
    let mut compared = 0;
    let mut only_read = 0;
    for case in cases {
        let id = text(case, "id");
        assert_keys(id, case, &KEYS);
        let tokens: Vec<u32> = read(id, &case["tokens"]);
        for n_tokens in 0..tokens.len().min(60) {
            parse_completion(&tokens[..n_tokens], decoder);
        }
        let completion = parse_completion(&tokens, decoder);
        let listed = CALLS_LATER.contains(&id) || DIFFERENT.contains(&id);
        if !is_completion(case) {
            assert!(!listed, "{id}: not a completion, need not be listed");
            only_read += 1;
            continue;
        }
        let messages = list(&case["strict"], "messages");
        let has_call = messages
            .iter()
            .any(|message| message.get("recipient").is_some());
        assert_eq!(CALLS_LATER.contains(&id), has_call, "{id}");
        if listed {
            continue;
        }
        assert_eq!(
            completion.thinking,
            joined(messages, |channel| channel == Some("analysis")),
            "{id}"
        );
        assert_eq!(
            completion.content,
            joined(messages, |channel| matches!(channel, None | Some("final"))),
            "{id}"
        );
        compared += 1;
    }
    println!(
        "{compared} completions equal, {only_read} other streams of {} only read",
        cases.len()
    );
    assert_eq!(
        compared + only_read + CALLS_LATER.len() + DIFFERENT.len(),
        cases.len()
    );
    assert!(compared > 20);
}

fn joined(messages: &[Value], wanted: impl Fn(Option<&str>) -> bool) -> Option<String> {
    let contents: Vec<&str> = messages
        .iter()
        .filter(|message| wanted(message["channel"].as_str()))
        .map(|message| text(message, "content"))
        .collect();
    (!contents.is_empty()).then(|| contents.join("\n"))
}
