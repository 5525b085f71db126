use super::*;
use crate::tokenizer::small::small_tokenizer;

/// The tokens of a text in which special tokens are spelled.
fn tokens(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut tokens = Vec::new();
    for piece in text.split_inclusive("|>") {
        let at = piece.find("<|").unwrap_or(piece.len());
        tokens.extend(tokenizer.encode_ordinary(&piece[..at]).unwrap());
        tokens.extend(tokenizer.special_token(&piece[at..]));
    }
    tokens
}

fn events(tokenizer: &Tokenizer, tokens: &[u32]) -> Vec<CompletionEvent> {
    let mut stream = CompletionStream::new(tokenizer);
    let mut events: Vec<CompletionEvent> = tokens
        .iter()
        .flat_map(|token| stream.push(*token))
        .collect();
    events.extend(stream.finish());
    events
}

fn start(part: CompletionPart, channel: &str, recipient: &str) -> CompletionEvent {
    let named = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    CompletionEvent::Start {
        part,
        role: None,
        channel: named(channel),
        recipient: named(recipient),
        well_formed: true,
    }
}

/// The same message, not as harmony writes it.
fn malformed(start: CompletionEvent) -> CompletionEvent {
    match start {
        CompletionEvent::Start {
            part,
            role,
            channel,
            recipient,
            ..
        } => CompletionEvent::Start {
            part,
            role,
            channel,
            recipient,
            well_formed: false,
        },
        other => other,
    }
}

fn text(text: &str) -> CompletionEvent {
    CompletionEvent::Text(text.to_owned())
}

#[test]
fn reasoning_and_answer_arrive_token_by_token() {
    let tokenizer = small_tokenizer();
    let completion = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final\
        <|message|>ß!<|return|>ignored<|start|>";
    let expected = [
        start(CompletionPart::Thinking, "analysis", ""),
        text("h"),
        text("m"),
        CompletionEvent::End,
        start(CompletionPart::Answer, "final", ""),
        text("ß"),
        text("!"),
        CompletionEvent::End,
    ];
    assert_eq!(
        events(&tokenizer, &tokens(&tokenizer, completion)),
        expected
    );
}

#[test]
fn headers_say_whom_a_message_is_for() {
    let tokenizer = small_tokenizer();
    for (header, expected) in [
        ("", start(CompletionPart::Answer, "", "")),
        (
            "<|channel|>",
            malformed(start(CompletionPart::Other, "", "")),
        ),
        (
            "<|channel|>wisdom",
            malformed(start(CompletionPart::Other, "wisdom", "")),
        ),
        (
            "<|channel|>commentary to=functions.f <|constrain|>json",
            start(CompletionPart::Call, "commentary", "functions.f"),
        ),
        (
            " to=python<|channel|>analysis",
            start(CompletionPart::Call, "analysis", "python"),
        ),
        (
            "<|channel|>to=f final",
            malformed(start(CompletionPart::Call, "", "f")),
        ),
        (
            "<|channel|>final <|constrain|>json",
            start(CompletionPart::Answer, "final", ""),
        ),
        (
            "<|end|><|start|>user<|channel|>final",
            CompletionEvent::Start {
                part: CompletionPart::Other,
                role: Some("user".into()),
                channel: Some("final".into()),
                recipient: None,
                well_formed: false,
            },
        ),
        (
            "<|channel|>commentary to=functions.f json",
            start(CompletionPart::Call, "commentary", "functions.f"),
        ),
    ] {
        let tokens = tokens(&tokenizer, &format!("{header}<|message|>"));
        assert_eq!(events(&tokenizer, &tokens), [expected], "{header}");
    }
}

#[test]
fn what_breaks_off_has_no_end() {
    let tokenizer = small_tokenizer();
    let mut tokens = tokens(&tokenizer, "<|message|>a😀");
    tokens.pop();
    let answer = start(CompletionPart::Answer, "", "");
    let expected = [answer.clone(), text("a"), text("\u{fffd}")];
    assert_eq!(events(&tokenizer, &tokens), expected);
    tokens.push(tokenizer.special_token("<|return|>").unwrap());
    let ended = [&expected[..], &[CompletionEvent::End]].concat();
    assert_eq!(events(&tokenizer, &tokens), ended);
    // Without the marker of a header it is text outside of all messages.
    let expected = [
        malformed(start(CompletionPart::Other, "", "")),
        text("a\u{fffd}"),
        CompletionEvent::End,
    ];
    assert_eq!(events(&tokenizer, &tokens[1..]), expected);
}

/// What models say that do not follow the format: it is told, and marked.
#[test]
fn text_outside_of_messages_is_told() {
    let tokenizer = small_tokenizer();
    let part = |channel| match channel {
        "final" => CompletionPart::Answer,
        _ => CompletionPart::Other,
    };
    let begun = |channel| malformed(start(part(channel), channel, ""));
    let said = |channel, said| vec![begun(channel), text(said), CompletionEvent::End];
    for (completion, expected) in [
        ("Hello.<|return|>", said("", "Hello.")),
        ("Hello.", said("", "Hello.")),
        ("<|channel|>final Sorry.<|return|>", said("final", "Sorry.")),
        ("<|end|> oops <|start|>assistant", said("", " oops ")),
        ("<|start|>assistant lost<|end|>", said("", " lost")),
        ("<|channel|>finalSorry<|return|>", said("", "finalSorry")),
        (
            "<|channel|>final<|constrain|>abc<|return|>",
            said("", "final<|constrain|>abc"),
        ),
        // Headers and nothing more, and what only separates messages.
        ("<|channel|>final<|return|>", vec![]),
        ("<|start|>assistant<|channel|>fin", vec![]),
        ("<|end|>\n<|start|>assistant", vec![]),
        ("", vec![]),
    ] {
        let tokens = tokens(&tokenizer, completion);
        assert_eq!(events(&tokenizer, &tokens), expected, "{completion}");
    }
}

#[test]
fn words_within_a_header_are_told_before_its_message() {
    let tokenizer = small_tokenizer();
    for (completion, stray) in [
        ("Hey<|channel|>final<|message|>x<|return|>", "Hey"),
        ("<|channel|>final you got <|message|>x<|return|>", "you got"),
    ] {
        let expected = [
            malformed(start(CompletionPart::Other, "", "")),
            text(stray),
            CompletionEvent::End,
            malformed(start(CompletionPart::Answer, "final", "")),
            text("x"),
            CompletionEvent::End,
        ];
        let tokens = tokens(&tokenizer, completion);
        assert_eq!(events(&tokenizer, &tokens), expected, "{completion}");
    }
    let call = "<|channel|>commentary to=f json{}<|call|>";
    let expected = [
        malformed(start(CompletionPart::Call, "commentary", "f")),
        text("{}"),
        CompletionEvent::Call(ToolCall::new("f", serde_json::json!({}))),
        CompletionEvent::End,
    ];
    assert_eq!(events(&tokenizer, &tokens(&tokenizer, call)), expected);
}

/// However much white space comes first, a header is a header.
#[test]
fn white_space_is_no_text() {
    let tokenizer = small_tokenizer();
    let completion = format!("{}<|channel|>final<|message|>x<|return|>", " ".repeat(100));
    let expected = [
        start(CompletionPart::Answer, "final", ""),
        text("x"),
        CompletionEvent::End,
    ];
    assert_eq!(
        events(&tokenizer, &tokens(&tokenizer, &completion)),
        expected
    );
}

#[test]
fn a_message_without_start_keeps_its_part() {
    let tokenizer = small_tokenizer();
    let completion = "<|message|>a<|end|><|channel|>final<|message|>b<|return|>";
    let expected = [
        start(CompletionPart::Answer, "", ""),
        text("a"),
        CompletionEvent::End,
        malformed(start(CompletionPart::Answer, "final", "")),
        text("b"),
        CompletionEvent::End,
    ];
    let tokens = tokens(&tokenizer, completion);
    assert_eq!(events(&tokenizer, &tokens), expected);
}

/// Long texts do not wait for their end.
#[test]
fn long_text_without_header_arrives_while_it_comes() {
    let tokenizer = small_tokenizer();
    let long = "word ".repeat(40);
    let tokens = tokens(&tokenizer, &format!("{long}<|return|>"));
    let mut stream = CompletionStream::new(&tokenizer);
    let first: Vec<_> = tokens[..100]
        .iter()
        .flat_map(|token| stream.push(*token))
        .collect();
    assert_eq!(first[0], malformed(start(CompletionPart::Other, "", "")));
    let rest = tokens[100..].iter().flat_map(|token| stream.push(*token));
    let said: String = first
        .iter()
        .cloned()
        .chain(rest)
        .filter_map(|event| match event {
            CompletionEvent::Text(text) => Some(text),
            _ => None,
        })
        .collect();
    assert_eq!(said, long);
}

#[test]
fn given_stop_tokens_end_the_turn_and_are_no_text() {
    let tokenizer = small_tokenizer();
    let tokens = tokens(&tokenizer, "<|message|>ab");
    let (stop, before) = (tokens[tokens.len() - 1], &tokens[..tokens.len() - 1]);
    let mut stream = CompletionStream::new(&tokenizer).with_stop_tokens(&[stop]);
    let told: Vec<_> = before
        .iter()
        .chain([&stop, &stop])
        .flat_map(|token| stream.push(*token))
        .collect();
    let answer = start(CompletionPart::Answer, "", "");
    assert_eq!(told, [answer, text("a"), CompletionEvent::End]);
    assert!(stream.is_finished());
}
