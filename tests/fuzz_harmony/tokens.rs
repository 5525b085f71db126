use burn_gpt_oss::{
    Completion, CompletionEvent, CompletionPart, CompletionStream, HarmonyParser, Role, Strictness,
    Tokenizer, parse_completion,
};

use super::input::Input;

/// What a stream is made of, beside single tokens.
const PIECES: [&str; 16] = [
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|channel|>",
    "<|return|>",
    "<|call|>",
    "<|constrain|>",
    "assistant",
    "analysis",
    "final",
    "commentary",
    " to=functions.f",
    " functions.f",
    " json",
    "漢😀",
    " ",
];

/// Every parser takes every token, and the two that mend agree.
pub fn run(input: &mut Input<'_>, tokenizer: &Tokenizer) {
    let tokens = tokens(input, tokenizer);
    for role in [None, Some(Role::Assistant)] {
        for strictness in [Strictness::Strict, Strictness::Lenient] {
            let parser = HarmonyParser::new(tokenizer, role, strictness);
            let mut parser = parser.expect("all markers");
            let read = tokens.iter().try_for_each(|token| parser.push(*token));
            if read.is_ok() {
                let _ = parser.finish();
            }
            assert!(parser.messages().len() <= tokens.len());
        }
    }
    let completion = parse_completion(&tokens, tokenizer);
    assert_eq!(
        collected(&tokens, tokenizer),
        completion,
        "{:?}",
        tokenizer.decode(&tokens)
    );
}

fn tokens(input: &mut Input<'_>, tokenizer: &Tokenizer) -> Vec<u32> {
    let mut tokens = Vec::new();
    while !input.is_empty() {
        match input.byte() {
            // Ids that are no token, and halves of characters.
            byte if byte < 32 => tokens.push(u32::from(byte) * 64),
            byte => {
                let piece = PIECES[usize::from(byte) % PIECES.len()];
                match tokenizer.special_token(piece) {
                    Some(token) => tokens.push(token),
                    None => tokens.extend(tokenizer.encode_ordinary(piece).expect("a text")),
                }
            }
        }
    }
    tokens
}

/// The completion that a reader of the events puts together.
fn collected(tokens: &[u32], tokenizer: &Tokenizer) -> Completion {
    let mut stream = CompletionStream::new(tokenizer);
    let mut events: Vec<_> = tokens
        .iter()
        .flat_map(|token| stream.push(*token))
        .collect();
    events.extend(stream.finish());
    let mut completion = Completion {
        finished: stream.is_finished(),
        ..Completion::default()
    };
    let mut current = CompletionPart::Other;
    for event in events {
        let (new, text) = match event {
            CompletionEvent::Start { part, .. } => {
                current = part;
                (true, String::new())
            }
            CompletionEvent::Text(text) => (false, text),
            CompletionEvent::Call(call) => {
                completion.tool_calls.push(call);
                continue;
            }
            CompletionEvent::End => continue,
        };
        let target = match current {
            CompletionPart::Thinking => &mut completion.thinking,
            CompletionPart::Preamble => &mut completion.preamble,
            CompletionPart::Answer => &mut completion.content,
            CompletionPart::Call | CompletionPart::Other => continue,
        };
        let separator = if new && target.is_some() { "\n" } else { "" };
        *target.get_or_insert_default() += &(separator.to_owned() + &text);
    }
    completion
}
