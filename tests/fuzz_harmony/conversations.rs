use std::sync::atomic::{AtomicU64, Ordering};

use burn_gpt_oss::{
    AnalysisPolicy, Content, Conversation, FunctionTool, HarmonyVariant, LossMask, Message,
    RenderOptions, Rendered, Role, Strictness, SystemContent, Tokenizer, ToolCall, parse_messages,
    render_training,
};
use serde_json::{Value, json};

use super::input::Input;

/// Renderings of both variants that were read back: where inputs are mostly refused, little is tested.
pub static RENDERED: AtomicU64 = AtomicU64::new(0);

/// Renders a conversation by both variants; what was rendered must be read back.
pub fn run(input: &mut Input<'_>, tokenizer: &Tokenizer) {
    let system = input.maybe().then(SystemContent::default);
    let tools = (0..input.below(3))
        .map(|index| tool(index, input))
        .collect();
    let in_chat = input.maybe();
    let mut messages = Vec::new();
    while !input.is_empty() && messages.len() < 12 {
        messages.push(match in_chat {
            true => chat_message(input),
            false => harmony_message(input),
        });
    }
    for variant in [HarmonyVariant::Library, HarmonyVariant::Template] {
        let conversation = match in_chat {
            true => Conversation::from_chat(messages.clone(), system.clone()),
            false => Ok(Conversation {
                system: system.clone(),
                messages: messages.clone(),
                ..Conversation::default()
            }),
        };
        let Ok(conversation) = conversation else {
            continue;
        };
        check(
            &conversation.with_tools(Vec::clone(&tools)),
            variant,
            tokenizer,
        );
    }
}

fn check(conversation: &Conversation, variant: HarmonyVariant, tokenizer: &Tokenizer) {
    let analysis = AnalysisPolicy::Keep;
    let options = RenderOptions { variant, analysis };
    let Ok(rendered) = render_training(conversation, tokenizer, LossMask::All, options) else {
        return;
    };
    RENDERED.fetch_add(1, Ordering::Relaxed);
    read_back(conversation, &rendered, tokenizer);
    masks(conversation, options, tokenizer);
}

/// Each message lies where its span says, and a parser finds the same.
fn read_back(conversation: &Conversation, rendered: &Rendered, tokenizer: &Tokenizer) {
    let mut end = 0;
    for span in &rendered.spans {
        assert_eq!(span.tokens.start, end, "a gap between messages");
        assert!(span.head.end <= span.content.start && span.content.end < span.tokens.end);
        end = span.tokens.end;
    }
    assert_eq!(end, rendered.tokens.len(), "tokens behind the last message");
    // A name in the header of another role than a tool's cannot be told from a role.
    let named = |message: &Message| message.role != Role::Tool && message.name.is_some();
    if conversation.messages.iter().any(named) {
        return;
    }
    let parsed = parse_messages(&rendered.tokens, tokenizer, None, Strictness::Strict);
    let parsed =
        parsed.unwrap_or_else(|error| panic!("{error}: {:?}", tokenizer.decode(&rendered.tokens)));
    assert_eq!(parsed.len(), rendered.spans.len());
    for (message, span) in parsed.iter().zip(&rendered.spans) {
        assert_eq!((message.role, &message.channel), (span.role, &span.channel));
        let content = tokenizer.decode(&rendered.tokens[span.content.clone()]);
        assert_eq!(message.content.text(), content);
        let given = span.message.map(|index| &conversation.messages[index]);
        if let Some(given) = given.filter(|given| given.role == Role::User) {
            assert_eq!(message.content.text(), given.content.text());
        }
    }
    let thinking = conversation
        .messages
        .iter()
        .filter_map(|message| message.thinking.as_ref());
    for text in thinking.filter(|text| !text.is_empty()) {
        let kept = |message: &Message| message.content.text() == text.as_str();
        assert!(parsed.iter().any(kept), "reasoning is lost: {text:?}");
    }
}

/// Each mask trains no more than the next.
fn masks(conversation: &Conversation, options: RenderOptions, tokenizer: &Tokenizer) {
    let flags = |mask| {
        let rendered = render_training(conversation, tokenizer, mask, options);
        rendered.expect("rendered before").loss_mask
    };
    let narrow = [flags(LossMask::FinalOnly), flags(LossMask::LastTurn)];
    let wider = [
        LossMask::Assistant,
        LossMask::AssistantWithInnerStarts,
        LossMask::All,
    ]
    .map(flags);
    let within = |small: &[bool], large: &[bool]| small.iter().zip(large).all(|(a, b)| !a || *b);
    for small in &narrow {
        assert!(within(small, &wider[0]));
    }
    assert!(within(&wider[0], &wider[1]) && within(&wider[1], &wider[2]));
}

/// A message with the headers of harmony.
fn harmony_message(input: &mut Input<'_>) -> Message {
    match input.below(4) {
        0 => Message::user(parts(input)),
        1 => Message::tool(input.pick(&["functions.f", "python"]), input.text()),
        2 if input.maybe() => Message::developer(input.text()),
        _ => {
            let mut message = Message::assistant(parts(input));
            let channel = input.pick(&[None, Some("analysis"), Some("commentary"), Some("final")]);
            message.channel = channel.map(str::to_owned);
            message.thinking = input.maybe().then(|| input.text());
            let recipient = input.pick(&[None, None, Some("functions.f"), Some("python")]);
            message.recipient = recipient.map(str::to_owned);
            // Without a recipient a type in the header is taken for one.
            let kind = input.pick(&[None, Some("json"), Some("<|constrain|>json")]);
            message.content_type = kind.filter(|_| recipient.is_some()).map(str::to_owned);
            message
        }
    }
}

/// A message as a dataset has it.
fn chat_message(input: &mut Input<'_>) -> Message {
    match input.below(6) {
        0 => Message::user(input.text()),
        1 => Message::system(input.text()),
        2 => {
            let content = match input.maybe() {
                true => Content::from(input.text()),
                false => Content::Json(json!({"ok": value(input, 0)})),
            };
            Message::new(Role::Tool, content)
        }
        3 => {
            let call = ToolCall::new("f", json!({"a": value(input, 0)}));
            let mut message = Message::calls([call]);
            message.thinking = input.maybe().then(|| input.text());
            message
        }
        _ => {
            let mut message = Message::assistant(input.text());
            message.thinking = input.maybe().then(|| input.text());
            message
        }
    }
}

fn parts(input: &mut Input<'_>) -> Content {
    let parts: Vec<String> = (0..1 + input.below(3)).map(|_| input.text()).collect();
    parts.into()
}

fn tool(index: usize, input: &mut Input<'_>) -> FunctionTool {
    FunctionTool {
        name: format!("f{index}"),
        description: input.text(),
        parameters: input.maybe().then(|| schema(input, 0)),
    }
}

fn schema(input: &mut Input<'_>, depth: usize) -> Value {
    let kinds = [
        "string", "integer", "boolean", "null", "array", "object", "object",
    ];
    let kind = input.pick(&kinds[..if depth < 4 { 7 } else { 4 }]);
    let mut schema = json!({"type": kind});
    match kind {
        "object" => {
            let names = ["a", "b", "two words"];
            let properties = (0..input.below(4)).map(|i| (names[i % 3], schema_of(input, depth)));
            schema["properties"] = properties
                .map(|(name, inner)| (name.to_owned(), inner))
                .collect();
            schema["required"] = json!(["a"]);
        }
        "array" if input.maybe() => schema["items"] = schema_of(input, depth),
        "string" if input.maybe() => schema["enum"] = json!([input.text(), 1]),
        _ => {}
    }
    if input.maybe() {
        schema["description"] = input.text().into();
    }
    if input.maybe() {
        schema["default"] = value(input, 0);
    }
    if input.below(8) == 7 {
        schema["oneOf"] = json!([schema_of(input, depth), {"type": "number"}]);
    }
    schema
}

fn schema_of(input: &mut Input<'_>, depth: usize) -> Value {
    schema(input, depth + 1)
}

fn value(input: &mut Input<'_>, depth: usize) -> Value {
    match input.below(if depth < 4 { 7 } else { 5 }) {
        0 => Value::Null,
        1 => input.maybe().into(),
        2 => input.byte().into(),
        3 => json!(f64::from_bits(
            u64::from(input.byte()) << 56 | u64::from(input.byte())
        )),
        4 => input.text().into(),
        5 => (0..input.below(3))
            .map(|_| value(input, depth + 1))
            .collect(),
        _ => json!({"k": value(input, depth + 1)}),
    }
}
