use burn_gpt_oss::{
    BuiltinTool, Conversation, FunctionTool, HarmonyDecoder, LossMask, Message, RenderOptions,
    SystemContent, render_completion, render_training,
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

/// Equality with the library follows from the tokens of both.
const RENDERING_KEYS: [&str; 7] = [
    "text",
    "tokens",
    "error",
    "equals_library_text",
    "equals_library_tokens",
    "equals_library_keep_analysis_text",
    "equals_library_keep_analysis_tokens",
];

#[derive(Default, Debug)]
struct Compared {
    equal: usize,
    refused_by_both: usize,
    /// The template drops something without a word.
    refused_here: usize,
    /// The template makes markers of what a text spells.
    ordinary_text: usize,
    /// The template breaks down without a reason of its own.
    broken: usize,
}

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
    let cases = [list(&file, "cases"), list(&file, "template_only")].concat();
    let mut compared = Compared::default();
    for case in &cases {
        check_keys(case);
        check_case(case, decoder, &mut compared);
    }
    println!("{} chats: {compared:?}", cases.len());
    assert!(compared.equal > 0);
    for case in list(&file, "not_expressible") {
        assert_keys("not_expressible", case, &["id", "reason"]);
    }
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

fn check_case<D: HarmonyDecoder>(case: &Value, decoder: &D, compared: &mut Compared) {
    let id = text(case, "id");
    let chat = chat(case);
    let rendered = chat.as_ref().map_err(Clone::clone).and_then(|chat| {
        let options = RenderOptions::template();
        let training = render_training(chat, decoder, LossMask::default(), options);
        let prompt = render_completion(chat, decoder, options);
        training
            .and_then(|training| Ok((training.tokens, prompt?)))
            .map_err(|error| error.to_string())
    });
    match case["training"].get("error").and_then(Value::as_str) {
        Some(error) if error.starts_with("TemplateError") => {
            assert!(rendered.is_err(), "{id}: {error}");
            compared.refused_by_both += 1;
            return;
        }
        // Python's own errors, as for `null`, which means absence here.
        Some(_) => {
            compared.broken += 1;
            return;
        }
        None => {}
    }
    if let Some(dropped) = dropped_by_the_template(case) {
        assert!(rendered.is_err(), "{id}: {dropped}");
        compared.refused_here += 1;
        return;
    }
    let (training, prompt) = rendered.unwrap_or_else(|error| panic!("{id}: {error}"));
    if spells_markers(case, decoder) {
        assert_eq!(
            decoder.decode(&training),
            text(&case["training"], "text"),
            "{id}"
        );
        assert_eq!(
            decoder.decode(&prompt),
            text(&case["completion"], "text"),
            "{id}"
        );
        let expected: Vec<u32> = read(id, &case["training"]["tokens"]);
        assert_ne!(training, expected, "{id}");
        compared.ordinary_text += 1;
        return;
    }
    assert_eq!(
        decoder.decode(&training),
        text(&case["training"], "text"),
        "{id}"
    );
    assert_eq!(
        training,
        read::<Vec<u32>>(id, &case["training"]["tokens"]),
        "{id}"
    );
    assert_eq!(
        prompt,
        read::<Vec<u32>>(id, &case["completion"]["tokens"]),
        "{id}"
    );
    if let (Ok(chat), Some(masks)) = (&chat, case["masks"].as_object()) {
        for (name, expected) in masks {
            let mask: LossMask = read(id, &json!(name));
            let rendered = render_training(chat, decoder, mask, RenderOptions::template());
            assert_mask(&format!("{id}, {name}"), &rendered.unwrap(), expected);
        }
    }
    compared.equal += 1;
}

fn chat(case: &Value) -> Result<Conversation, String> {
    let mut system = SystemContent::default().with_date(text(case, "date"));
    let kwargs = &case["kwargs"];
    let read_error = |error: serde_json::Error| error.to_string();
    if let Some(effort) = kwargs.get("reasoning_effort") {
        system.reasoning_effort = serde_json::from_value(effort.clone()).map_err(read_error)?;
    }
    if let Some(identity) = kwargs.get("model_identity") {
        system.model_identity = serde_json::from_value(identity.clone()).map_err(read_error)?;
    }
    if let Some(tools) = kwargs.get("builtin_tools") {
        let tools: Option<Vec<BuiltinTool>> =
            serde_json::from_value(tools.clone()).map_err(read_error)?;
        system.builtin_tools = tools.unwrap_or_default();
    }
    let messages: Vec<Message> =
        serde_json::from_value(case["messages"].clone()).map_err(read_error)?;
    let tools: Option<Vec<FunctionTool>> =
        serde_json::from_value(case["tools"].clone()).map_err(read_error)?;
    let chat =
        Conversation::from_chat(messages, Some(system)).map_err(|error| error.to_string())?;
    Ok(chat.with_tools(tools.unwrap_or_default()))
}

/// What the template leaves out without a word, and what is refused here for it.
fn dropped_by_the_template(case: &Value) -> Option<&'static str> {
    let messages = list(case, "messages");
    let later = messages.iter().skip(1);
    let instructs = |message: &Value| {
        ["system", "developer"]
            .iter()
            .any(|role| message["role"] == *role)
    };
    let calls = |message: &Value| message["tool_calls"].as_array().map_or(0, Vec::len);
    let builtin = case["kwargs"]["builtin_tools"].as_array();
    let unknown = |tool: &Value| tool != "browser" && tool != "python";
    if later.clone().any(instructs) {
        Some("instructions that are not the first message")
    } else if messages.iter().any(|message| calls(message) > 1) {
        Some("all calls of a message but the first")
    } else if builtin.is_some_and(|tools| tools.iter().any(unknown)) {
        Some("a built-in tool that it does not know")
    } else {
        None
    }
}

/// Whether a text of the case spells a special token.
fn spells_markers(case: &Value, decoder: &impl HarmonyDecoder) -> bool {
    let texts = json!([case["messages"], case["tools"], case["kwargs"]]).to_string();
    texts
        .match_indices("<|")
        .filter_map(|(at, _)| texts[at..].find("|>").map(|end| &texts[at..at + end + 2]))
        .any(|spelling| decoder.special_token(spelling).is_some())
}
