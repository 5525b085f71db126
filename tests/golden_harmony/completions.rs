use burn_gpt_oss::{HarmonyDecoder, parse_completion};
use serde_json::Value;

use super::golden::{list, load, read, text};

const CHANNELS: [&str; 3] = ["analysis", "commentary", "final"];

/// Every prefix is read without a fault. What follows the format is read as the library reads it; where a
/// model left it, the library gives up or takes markers for text, and a completion mends.
pub fn check<D: HarmonyDecoder>(decoder: &D) {
    let file = load("parse.json");
    let cases = list(&file, "cases");
    let mut compared = 0;
    for case in cases {
        let id = text(case, "id");
        let tokens: Vec<u32> = read(id, &case["tokens"]);
        for n_tokens in 0..tokens.len().min(60) {
            parse_completion(&tokens[..n_tokens], decoder);
        }
        let completion = parse_completion(&tokens, decoder);
        let messages = case["strict"].get("messages").and_then(Value::as_array);
        let Some(messages) = messages.filter(|_| case["role"] == "assistant") else {
            continue;
        };
        if !follows_the_format(messages, &tokens, decoder) {
            continue;
        }
        let of = |wanted: &[Option<&str>]| joined(messages, wanted);
        assert_eq!(completion.thinking, of(&[Some("analysis")]), "{id}");
        let calls: Vec<String> = completion
            .tool_calls
            .iter()
            .map(|call| call.name.clone())
            .collect();
        assert_eq!(calls, callees(messages), "{id}");
        assert_eq!(completion.preamble, of(&[Some("commentary")]), "{id}");
        assert_eq!(completion.content, of(&[None, Some("final")]), "{id}");
        compared += 1;
    }
    println!("{compared} completions of {} streams equal", cases.len());
    assert!(compared > 0);
}

/// Whom the messages call; functions without their namespace.
fn callees(messages: &[Value]) -> Vec<String> {
    let called = messages
        .iter()
        .filter_map(|message| message["recipient"].as_str());
    called
        .map(|name| name.strip_prefix("functions.").unwrap_or(name).to_owned())
        .collect()
}

fn is_tool(name: &str) -> bool {
    name.starts_with("functions.") || name.starts_with("browser.") || name == "python"
}

/// Messages of the assistant to the person or to a tool, each with one marker of a kind, and nothing behind the turn.
fn follows_the_format<D: HarmonyDecoder>(messages: &[Value], tokens: &[u32], decoder: &D) -> bool {
    let count = |spelling: &str| {
        let marker = decoder.special_token(spelling);
        tokens
            .iter()
            .filter(|token| Some(**token) == marker)
            .count()
    };
    let ends = ["<|return|>", "<|call|>"].map(|end| decoder.special_token(end));
    let is_end = |token: &u32| ends.contains(&Some(*token));
    let of_a_turn = |message: &Value| {
        let channel = message["channel"].as_str();
        message["role"] == "assistant"
            && message["recipient"].as_str().is_none_or(is_tool)
            && channel.is_none_or(|channel| CHANNELS.contains(&channel))
    };
    let with_channel = messages
        .iter()
        .filter(|message| message.get("channel").is_some());
    // A call that breaks off is none.
    let calls = messages
        .iter()
        .any(|message| message.get("recipient").is_some());
    let stops = [ends[0], ends[1], decoder.special_token("<|end|>")];
    let stopped = tokens
        .last()
        .is_some_and(|token| stops.contains(&Some(*token)));
    messages.iter().all(of_a_turn)
        && (stopped || !calls)
        && count("<|message|>") == messages.len()
        && count("<|start|>") + 1 == messages.len()
        && count("<|channel|>") == with_channel.count()
        && tokens
            .iter()
            .all(|token| decoder.token_bytes(*token).is_some())
        && tokens
            .iter()
            .position(is_end)
            .is_none_or(|at| at + 1 == tokens.len())
}

fn joined(messages: &[Value], channels: &[Option<&str>]) -> Option<String> {
    let contents: Vec<&str> = messages
        .iter()
        .filter(|message| message.get("recipient").is_none())
        .filter(|message| channels.contains(&message["channel"].as_str()))
        .map(|message| text(message, "content"))
        .collect();
    (!contents.is_empty()).then(|| contents.join("\n"))
}
