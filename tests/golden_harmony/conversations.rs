use burn_gpt_oss::{
    AnalysisPolicy, Conversation, HarmonyDecoder, HarmonyEncoder, LossMask, Message, MessageSpan,
    RenderOptions, Rendered, SpanSource, SystemContent, render_completion, render_training,
};
use serde_json::{Value, json};

use super::golden::{assert_keys, joined, list, load, ranges, read, text};

const MASKS: [&str; 5] = [
    "assistant",
    "assistant_with_inner_starts",
    "final_only",
    "last_turn",
    "all",
];

const KEYS: [&str; 9] = [
    "id",
    "covers",
    "input",
    "render",
    "training",
    "completion",
    "spans",
    "masks",
    "training_keep_analysis",
];

const MESSAGE_KEYS: [&str; 8] = [
    "role",
    "content",
    "contents",
    "name",
    "channel",
    "recipient",
    "content_type",
    "thinking",
];

#[derive(Default)]
struct Compared {
    conversations: usize,
    renderings: usize,
    masks: usize,
    spans: usize,
}

pub fn check<D: HarmonyDecoder>(encoder_name: &str, decoder: &D) {
    let file = load("conversations.json");
    assert_keys(
        "conversations.json",
        &file,
        &["format", "conversations", "errors"],
    );
    let cases = list(&file, "conversations");
    let mut compared = Compared::default();
    for case in cases {
        let id = text(case, "id");
        check_keys(id, case);
        check_conversation(id, case, decoder, &mut compared);
    }
    let Compared {
        conversations,
        renderings,
        masks,
        spans,
    } = compared;
    println!(
        "{encoder_name}: {conversations} of {} conversations, {renderings} renderings, {masks} masks and \
         {spans} spans equal",
        cases.len()
    );
    assert!(conversations > 0 && conversations == cases.len());
    assert_eq!(renderings, 4 * conversations);
    assert_eq!(masks, 2 * MASKS.len() * conversations);
}

fn check_keys(id: &str, case: &Value) {
    assert_keys(id, case, &KEYS);
    assert_keys(id, &case["input"], &["system", "tools", "messages"]);
    assert_keys(id, &case["masks"], &MASKS);
    for message in list(&case["input"], "messages") {
        assert_keys(id, message, &MESSAGE_KEYS);
    }
    for rendering in ["render", "training", "completion"] {
        assert_keys(id, &case[rendering], &["text", "tokens"]);
    }
    if let Some(kept) = case.get("training_keep_analysis") {
        assert_keys(id, kept, &["text", "tokens", "spans", "masks"]);
        assert_keys(id, &kept["masks"], &MASKS);
    }
}

fn check_conversation<D: HarmonyDecoder>(
    id: &str,
    case: &Value,
    decoder: &D,
    compared: &mut Compared,
) {
    let conversation: Conversation = read(id, &case["input"]);
    let drop = RenderOptions::library();
    let tokens = render_completion(&conversation, decoder, drop).unwrap();
    assert_tokens(
        &format!("{id}, completion"),
        decoder,
        &tokens,
        &case["completion"],
    );
    let (body, start) = tokens.split_at(tokens.len() - 2);
    assert_tokens(&format!("{id}, render"), decoder, body, &case["render"]);
    assert_eq!(decoder.decode(start), "<|start|>assistant", "{id}");
    compared.renderings += 2;

    check_training(
        id,
        &conversation,
        decoder,
        drop,
        case,
        &case["training"],
        compared,
    );
    // The data has the second rendering only where it differs from the first.
    let (expected, rendering) = match case.get("training_keep_analysis") {
        Some(kept) => (kept, kept),
        None => (case, &case["training"]),
    };
    let keep = drop.with_analysis(AnalysisPolicy::Keep);
    check_training(
        id,
        &conversation,
        decoder,
        keep,
        expected,
        rendering,
        compared,
    );
    compared.conversations += 1;
}

fn check_training<D: HarmonyDecoder>(
    id: &str,
    conversation: &Conversation,
    decoder: &D,
    options: RenderOptions,
    expected: &Value,
    rendering: &Value,
    compared: &mut Compared,
) {
    let id = format!("{id}, training, {options:?}");
    for name in MASKS {
        let mask: LossMask = read(&id, &json!(name));
        let rendered = render_training(conversation, decoder, mask, options).unwrap();
        assert_mask(
            &format!("{id}, {name}"),
            &rendered,
            &expected["masks"][name],
        );
        compared.masks += 1;
    }
    let rendered = render_training(conversation, decoder, LossMask::default(), options).unwrap();
    assert_tokens(&id, decoder, &rendered.tokens, rendering);
    assert_spans(&id, &rendered.spans, list(expected, "spans"));
    compared.renderings += 1;
    compared.spans += rendered.spans.len();
}

fn assert_tokens(what: &str, decoder: &impl HarmonyDecoder, tokens: &[u32], expected: &Value) {
    assert_eq!(
        tokens,
        read::<Vec<u32>>(what, &expected["tokens"]),
        "{what}"
    );
    assert_eq!(decoder.decode(tokens), text(expected, "text"), "{what}");
}

pub fn assert_mask(what: &str, rendered: &Rendered, expected: &Value) {
    let expected: Vec<[usize; 2]> = read(what, expected);
    assert_eq!(rendered.loss_mask.len(), rendered.tokens.len(), "{what}");
    assert_eq!(ranges(&rendered.loss_mask), joined(&expected), "{what}");
}

fn assert_spans(what: &str, spans: &[MessageSpan], expected: &[Value]) {
    let spans: Vec<Value> = spans.iter().map(span_as_json).collect();
    let rendered: Vec<Value> = expected
        .iter()
        .filter(|span| !span["span"].is_null())
        .cloned()
        .collect();
    assert_eq!(spans, rendered, "{what}");
}

fn span_as_json(span: &MessageSpan) -> Value {
    let source = match span.source {
        SpanSource::System => "system",
        SpanSource::Tools => "tools",
        SpanSource::Thinking => "thinking",
        SpanSource::Content => "content",
    };
    json!({
        "source": source,
        "message": span.message,
        "role": span.role.as_str(),
        "channel": span.channel,
        "span": [span.tokens.start, span.tokens.end],
        "content": [span.content.start, span.content.end],
    })
}

/// Each is refused where it is met first: when it is read, or when it is rendered.
pub fn check_errors(encoder: &impl HarmonyEncoder) {
    let file = load("conversations.json");
    for case in list(&file, "errors") {
        let id = text(case, "id");
        assert_keys(id, case, &["id", "message", "error", "raised_by"]);
        let Ok(message) = serde_json::from_value::<Message>(case["message"].clone()) else {
            continue;
        };
        let conversation = Conversation {
            system: Some(SystemContent::default()),
            messages: vec![message],
            ..Conversation::default()
        };
        let rendered = render_completion(&conversation, encoder, RenderOptions::library());
        assert!(rendered.is_err(), "{id}: {}", case["error"]);
    }
}
