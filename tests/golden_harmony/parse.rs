use burn_gpt_oss::{
    GptOssError, HarmonyDecoder, HarmonyParser, Message, ParserState, Role, Strictness,
    parse_messages,
};
use serde_json::{Map, Value, json};

use super::golden::{assert_keys, list, load, read, text};

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

const STREAM_KEYS: [&str; 9] = [
    "states",
    "deltas",
    "headers",
    "message_done_at",
    "error",
    "messages_before_eos",
    "current_content",
    "messages_after_eos",
    "eos_error",
];

pub fn check<D: HarmonyDecoder>(decoder: &D) {
    let file = load("parse.json");
    assert_keys("parse.json", &file, &["format", "cases"]);
    let cases = list(&file, "cases");
    let mut streams = 0;
    for case in cases {
        let id = text(case, "id");
        assert_keys(id, case, &KEYS);
        let tokens: Vec<u32> = read(id, &case["tokens"]);
        let role: Option<Role> = read(id, &case["role"]);
        for (strictness, whole, stream) in [
            (Strictness::Strict, "strict", "stream"),
            (Strictness::Lenient, "lenient", "stream_lenient"),
        ] {
            let what = format!("{id}, {whole}");
            let parsed = parse_messages(&tokens, decoder, role, strictness);
            check_messages(&what, or_same(case, whole, "strict"), parsed);
            if case.get(stream).is_some() {
                let expected = or_same(case, stream, "stream");
                let parser = HarmonyParser::new(decoder, role, strictness).unwrap();
                check_stream(&what, expected, &tokens, parser);
                streams += 1;
            }
        }
    }
    println!("{} cases and {streams} streams equal", cases.len());
    assert!(!cases.is_empty());
}

fn or_same<'a>(case: &'a Value, key: &str, first: &str) -> &'a Value {
    match &case[key] {
        Value::String(same) if same == "same" => &case[first],
        own => own,
    }
}

fn check_messages(what: &str, expected: &Value, parsed: Result<Vec<Message>, GptOssError>) {
    match (expected.get("error"), parsed) {
        (Some(error), Ok(_)) => panic!("{what}: not refused: {error}"),
        (Some(_), Err(_)) => {}
        (None, parsed) => {
            let parsed = parsed.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(as_json(&parsed), expected["messages"], "{what}");
        }
    }
}

fn as_json(messages: &[Message]) -> Value {
    messages.iter().map(message_json).collect()
}

fn message_json(message: &Message) -> Value {
    let mut json = Map::new();
    json.insert("role".into(), message.role.as_str().into());
    json.insert("content".into(), message.content.text().as_ref().into());
    for (key, value) in [
        ("name", &message.name),
        ("channel", &message.channel),
        ("recipient", &message.recipient),
        ("content_type", &message.content_type),
    ] {
        if let Some(value) = value {
            json.insert(key.into(), value.as_str().into());
        }
    }
    json.into()
}

/// What a parser said of each token.
#[derive(Default)]
struct Seen {
    states: String,
    deltas: Vec<Option<String>>,
    headers: Vec<Value>,
    done_at: Vec<usize>,
    error: Value,
}

fn check_stream<D: HarmonyDecoder>(
    what: &str,
    expected: &Value,
    tokens: &[u32],
    mut parser: HarmonyParser<'_, D>,
) {
    assert_keys(what, expected, &STREAM_KEYS);
    let seen = feed(tokens, &mut parser);
    assert_eq!(seen.states, text(expected, "states"), "{what}");
    assert_eq!(json!(seen.deltas), expected["deltas"], "{what}");
    assert_eq!(json!(seen.headers), expected["headers"], "{what}");
    assert_eq!(json!(seen.done_at), expected["message_done_at"], "{what}");
    let [at, state] = ["at", "state_after"].map(|key| &expected["error"][key]);
    assert_eq!(
        (&seen.error["at"], &seen.error["state_after"]),
        (at, state),
        "{what}"
    );
    assert_eq!(
        as_json(parser.messages()),
        expected["messages_before_eos"],
        "{what}"
    );
    assert_eq!(parser.text(), text(expected, "current_content"), "{what}");
    if !seen.error.is_null() {
        return;
    }
    let end = parser.finish();
    assert_eq!(end.is_err(), expected.get("eos_error").is_some(), "{what}");
    if let Some(messages) = expected.get("messages_after_eos") {
        assert_eq!(as_json(parser.messages()), *messages, "{what}");
    }
}

fn feed<D: HarmonyDecoder>(tokens: &[u32], parser: &mut HarmonyParser<'_, D>) -> Seen {
    let mut seen = Seen::default();
    let mut header = None;
    for (at, &token) in tokens.iter().enumerate() {
        let n_done = parser.messages().len();
        if parser.push(token).is_err() {
            seen.error = json!({"at": at, "state_after": state_name(parser.state())});
            break;
        }
        seen.states.push(match parser.state() {
            ParserState::Start => 'E',
            ParserState::Header => 'H',
            ParserState::Content => 'C',
        });
        seen.deltas.push(parser.delta().map(str::to_owned));
        if parser.messages().len() > n_done {
            seen.done_at.push(at);
        }
        let current = parser.current();
        let new = json!([
            parser.role().map(Role::as_str),
            current.and_then(|message| message.channel.clone()),
            current.and_then(|message| message.recipient.clone()),
            current.and_then(|message| message.content_type.clone()),
        ]);
        if header.as_ref() != Some(&new) {
            let mut entry = vec![json!(at)];
            entry.extend(new.as_array().into_iter().flatten().cloned());
            seen.headers.push(entry.into());
            header = Some(new);
        }
    }
    seen
}

fn state_name(state: ParserState) -> &'static str {
    match state {
        ParserState::Start => "ExpectStart",
        ParserState::Header => "Header",
        ParserState::Content => "Content",
    }
}
