use std::collections::BTreeSet;

use burn_gpt_oss::{
    AnalysisPolicy, Conversation, HarmonyDecoder, LossMask, Message, Role, SystemContent,
    render_completion, render_training,
};
use serde_json::{Value, json};

use super::conversations::assert_mask;
use super::golden::{assert_keys, list, load, read, text};

const KEYS: [&str; 8] = [
    "id",
    "messages",
    "tools",
    "kwargs",
    "date",
    "training",
    "completion",
    "masks",
];

/// The text of a rendering is not compared: its tokens decide.
const RENDERING_KEYS: [&str; 7] = [
    "text",
    "tokens",
    "error",
    "equals_library_text",
    "equals_library_tokens",
    "equals_library_keep_analysis_text",
    "equals_library_keep_analysis_tokens",
];

/// Function tools and built-in tools belong to a later version.
const TOOLS_LATER: [&str; 13] = [
    "docs_tools",
    "tool_call_pending",
    "tool_result",
    "tool_then_final",
    "tool_two_turns",
    "tools_only_developer",
    "tools_nested",
    "tools_defaults",
    "tools_odd",
    "tools_one_of",
    "tools_deep",
    "tools_no_params",
    "browser",
];

/// The template lets texts spell special tokens, here they are ordinary text.
const SPELLS_SPECIAL_TOKENS: [&str; 1] = ["fake_specials"];

/// Inputs that only the template takes, beyond those treated one by one in `check_template_only`.
const ONLY_LATER: [&str; 15] = [
    "result_as_object",
    "numbers_in_arguments",
    "arguments_as_string",
    "call_content_as_analysis",
    "content_type",
    "two_calls_in_one_message",
    "reasoning_content_key",
    "builtin_unknown",
    "builtin_order",
    "error_content_and_thinking",
    "error_tool_without_call",
    "error_tool_after_final",
    // Accepted here: marker spellings are ordinary text, and null is the same as absence.
    "error_channel_in_content",
    "error_channel_in_thinking",
    "error_thinking_null",
];

pub fn check<D: HarmonyDecoder>(decoder: &D) {
    let file = load("template.json");
    let keys = [
        "format",
        "template_sha256",
        "cases",
        "template_only",
        "not_expressible",
    ];
    assert_keys("template.json", &file, &keys);
    let library = load("conversations.json");
    let cases = list(&file, "cases");
    let mut compared = 0;
    for case in cases {
        check_keys(case);
        let id = text(case, "id");
        let has_tools = !case["tools"].is_null() || case["kwargs"].get("builtin_tools").is_some();
        assert_eq!(TOOLS_LATER.contains(&id), has_tools, "{id}");
        if !has_tools {
            let chat = chat(id, case).unwrap();
            assert_eq!(chat, library_input(&library, id), "{id}");
            if !SPELLS_SPECIAL_TOKENS.contains(&id) {
                check_case(id, case, chat, decoder);
                compared += 1;
            }
        }
    }
    println!("{compared} of {} chats equal the template", cases.len());
    assert_eq!(
        compared,
        cases.len() - TOOLS_LATER.len() - SPELLS_SPECIAL_TOKENS.len()
    );
    for case in list(&file, "template_only") {
        check_keys(case);
        check_template_only(case, decoder);
    }
    check_partition(&file, &library);
}

fn check_keys(case: &Value) {
    let id = text(case, "id");
    assert_keys(id, case, &KEYS);
    assert_keys(
        id,
        &case["kwargs"],
        &["reasoning_effort", "model_identity", "builtin_tools"],
    );
    assert_keys(id, &case["training"], &RENDERING_KEYS);
    assert_keys(id, &case["completion"], &RENDERING_KEYS);
}

fn library_input(library: &Value, id: &str) -> Conversation {
    let mut cases = list(library, "conversations").iter();
    let case = cases.find(|case| case["id"] == id);
    read(
        id,
        &case.unwrap_or_else(|| panic!("{id}: not in conversations.json"))["input"],
    )
}

fn chat(id: &str, case: &Value) -> Result<Conversation, burn_gpt_oss::GptOssError> {
    let mut system = SystemContent::default().with_date(text(case, "date"));
    if let Some(effort) = case["kwargs"].get("reasoning_effort") {
        system.reasoning_effort = read(id, effort);
    }
    if let Some(identity) = case["kwargs"].get("model_identity") {
        system.model_identity = read(id, identity);
    }
    Conversation::from_chat(read(id, &case["messages"]), Some(system))
}

/// The differences to the library: empty instructions are left out, others have newlines behind them,
/// and only the reasoning of the last message is kept.
fn as_template(mut chat: Conversation, keep_last: bool) -> Conversation {
    if chat.messages[0] == Message::developer("") {
        chat.messages.remove(0);
    } else if chat.messages[0].role == Role::Developer {
        chat.messages[0].content.push_str("\n\n");
    }
    let n_stripped = chat.messages.len() - usize::from(keep_last);
    for message in &mut chat.messages[..n_stripped] {
        message.thinking = None;
    }
    chat
}

fn check_case(id: &str, case: &Value, chat: Conversation, decoder: &impl HarmonyDecoder) {
    let keep = AnalysisPolicy::Keep;
    let training = as_template(chat.clone(), true);
    let masks = case["masks"].as_object().unwrap();
    for (name, expected) in masks {
        let mask: LossMask = read(id, &json!(name));
        let rendered = render_training(&training, decoder, mask, keep).unwrap();
        assert_eq!(
            rendered.tokens,
            read::<Vec<u32>>(id, &case["training"]["tokens"]),
            "{id}"
        );
        assert_mask(&format!("{id}, {name}"), &rendered, expected);
    }
    assert_eq!(masks.len(), 5, "{id}");
    let tokens = render_completion(&as_template(chat, false), decoder, keep).unwrap();
    assert_eq!(
        tokens,
        read::<Vec<u32>>(id, &case["completion"]["tokens"]),
        "{id}"
    );
}

fn check_template_only(case: &Value, decoder: &impl HarmonyDecoder) {
    let id = text(case, "id");
    match id {
        "system_role_first" | "empty_tools_list" => {
            check_case(id, case, chat(id, case).unwrap(), decoder);
        }
        // The template drops the message without a word.
        "middle_system_ignored" => assert!(chat(id, case).is_err(), "{id}"),
        "error_content_missing" => {
            let message = case["messages"][1].clone();
            assert!(serde_json::from_value::<Message>(message).is_err(), "{id}");
        }
        // Here null leaves the line out.
        "error_effort_null" => {
            let system = chat(id, case).unwrap().system;
            assert!(
                system.is_some_and(|system| system.reasoning_effort.is_none()),
                "{id}"
            );
        }
        _ => assert!(
            ONLY_LATER.contains(&id),
            "template_only: `{id}` is not visited by any test"
        ),
    }
}

fn check_partition(file: &Value, library: &Value) {
    let ids = |object: &Value, key: &str| -> BTreeSet<String> {
        list(object, key)
            .iter()
            .map(|case| text(case, "id").to_owned())
            .collect()
    };
    let mut all = ids(file, "cases");
    all.extend(ids(file, "not_expressible"));
    assert_eq!(all, ids(library, "conversations"));
    for case in list(file, "not_expressible") {
        assert_keys("not_expressible", case, &["id", "reason"]);
    }
}
