use burn_gpt_oss::{
    AnalysisPolicy, Conversation, GptOssError, HarmonyDecoder, HarmonyEncoder, LossMask, Message,
    MessageSpan, Rendered, SpanSource, SystemContent, render_completion, render_training,
};
use serde_json::{Value, json};

use super::golden::{assert_keys, joined, list, load, ranges, read, text};

/// Function tools and built-in tools belong to a later version.
const TOOLS_LATER: [&str; 17] = [
    "docs_tools",
    "tool_call_pending",
    "tool_result",
    "tool_then_final",
    "tool_two_turns",
    "parallel_calls",
    "preamble",
    "tools_only_developer",
    "tools_nested",
    "tools_defaults",
    "tools_odd",
    "tools_one_of",
    "tools_deep",
    "tools_no_params",
    "browser",
    "python_call",
    "all_tools",
];

/// Messages of several text parts belong to a later version.
const PARTS_LATER: [&str; 1] = ["several_contents"];

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
        if TOOLS_LATER.contains(&id) {
            refuses_tools(id, &read(id, &case["input"]), decoder);
        } else if PARTS_LATER.contains(&id) {
            let error = serde_json::from_value::<Conversation>(case["input"].clone()).unwrap_err();
            assert!(error.to_string().contains("content"), "{id}: {error}");
        } else {
            check_conversation(id, case, decoder, &mut compared);
        }
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
    assert_eq!(
        conversations,
        cases.len() - TOOLS_LATER.len() - PARTS_LATER.len()
    );
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

fn refuses_tools(id: &str, conversation: &Conversation, encoder: &impl HarmonyEncoder) {
    let error =
        render_training(conversation, encoder, LossMask::All, AnalysisPolicy::Keep).unwrap_err();
    assert!(
        matches!(error, GptOssError::Unsupported { .. }),
        "{id}: {error}"
    );
    let error = render_completion(conversation, encoder, AnalysisPolicy::Keep).unwrap_err();
    assert!(
        matches!(error, GptOssError::Unsupported { .. }),
        "{id}: {error}"
    );
}

fn check_conversation<D: HarmonyDecoder>(
    id: &str,
    case: &Value,
    decoder: &D,
    compared: &mut Compared,
) {
    let conversation: Conversation = read(id, &case["input"]);
    let drop = AnalysisPolicy::DropBeforeFinal;
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
    let keep = AnalysisPolicy::Keep;
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
    policy: AnalysisPolicy,
    expected: &Value,
    rendering: &Value,
    compared: &mut Compared,
) {
    let id = format!("{id}, training, {policy:?}");
    for name in MASKS {
        let mask: LossMask = read(&id, &json!(name));
        let rendered = render_training(conversation, decoder, mask, policy).unwrap();
        assert_mask(
            &format!("{id}, {name}"),
            &rendered,
            &expected["masks"][name],
        );
        compared.masks += 1;
    }
    let rendered = render_training(conversation, decoder, LossMask::default(), policy).unwrap();
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

pub fn check_errors(encoder: &impl HarmonyEncoder) {
    let file = load("conversations.json");
    for case in list(&file, "errors") {
        let id = text(case, "id");
        assert_keys(id, case, &["id", "message", "error", "raised_by"]);
        let message = serde_json::from_value::<Message>(case["message"].clone());
        match id {
            "tool_without_name" => {
                let messages = vec![message.unwrap()];
                let system = Some(SystemContent::default());
                let conversation = Conversation {
                    system,
                    messages,
                    ..Conversation::default()
                };
                let policy = AnalysisPolicy::Keep;
                let error = render_completion(&conversation, encoder, policy).unwrap_err();
                assert!(
                    matches!(error, GptOssError::Conversation { message: 0, .. }),
                    "{error}"
                );
            }
            // Our messages hold text only, so these cannot even be written down.
            "system_content_in_user" | "developer_content_in_system" | "unknown_role" => {
                assert!(message.is_err(), "{id}");
            }
            _ => panic!("errors: `{id}` is not visited by any test"),
        }
    }
}
