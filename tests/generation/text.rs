//! Text while it is generated.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::FloatDType;
use burn_gpt_oss::{
    CheckpointReader, Conversation, Finish, GenerateOptions, GeneratedText, GptOss, Message,
    RenderOptions, Sampling, StopStrings, Tokenizer, generate_text, render_completion, stop_tokens,
};

use crate::model::device;
use crate::run;

/// The embedded model, its tokenizer and a question that it understands.
fn chat() -> (GptOss, Tokenizer, Vec<u32>) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny-gpt-oss");
    let reader = CheckpointReader::open(&dir).expect("the embedded checkpoint");
    let model = reader
        .load_stored(&device(), FloatDType::F32, |_| {})
        .expect("a model");
    let tokenizer = Tokenizer::from_file(dir.join("tokenizer.json")).expect("a tokenizer");
    let question = "Tom has 5 coins and gets 6 more. How many coins does he have?";
    let messages = vec![
        Message::system("reasoning language: English\n\nYou are a helpful assistant."),
        Message::user(question),
    ];
    let chat = Conversation::from_chat(messages, None).expect("a conversation");
    let prompt = render_completion(&chat, &tokenizer, RenderOptions::library()).expect("a prompt");
    (model, tokenizer, prompt)
}

fn options(tokenizer: &Tokenizer) -> GenerateOptions {
    GenerateOptions {
        max_new_tokens: 100,
        stop_tokens: stop_tokens(tokenizer),
        ..GenerateOptions::default()
    }
}

fn answer(stop: &[&str], cancel_after: usize) -> (GeneratedText, String) {
    let (model, tokenizer, prompt) = chat();
    let stop: Vec<String> = stop.iter().map(|stop| stop.to_string()).collect();
    let stop = StopStrings::new(&stop).expect("not empty");
    let (mut shown, mut calls) = (String::new(), 0);
    let options = options(&tokenizer);
    let result = generate_text(
        &model,
        &tokenizer,
        &prompt,
        &options,
        stop,
        &device(),
        |text| {
            shown.push_str(text);
            calls += 1;
            if calls == cancel_after {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
    );
    (result.expect("a valid prompt"), shown)
}

#[test]
fn what_is_shown_is_the_text_of_the_tokens() {
    let (result, shown) = answer(&[], usize::MAX);
    let (_, tokenizer, _) = chat();
    assert_eq!(shown, result.text);
    let (stop, said) = result.tokens.split_last().expect("tokens");
    assert_eq!(result.text, tokenizer.decode(said));
    assert_eq!(
        stop_tokens(&tokenizer)[0],
        *stop,
        "the stop token is no text"
    );
    assert_eq!(result.finish, Some(Finish::StopToken));
    assert!(
        result.text.contains("<|channel|>final<|message|>"),
        "{shown}"
    );
}

#[test]
fn a_stop_string_is_not_shown() {
    let (whole, _) = answer(&[], usize::MAX);
    for stop in ["so the", "<|message|>", " answer is 1"] {
        let (result, shown) = answer(&[stop, "never said"], usize::MAX);
        let before = whole.text.split(stop).next().expect("a beginning");
        assert_eq!(
            (shown.as_str(), result.text.as_str()),
            (before, before),
            "{stop}"
        );
        assert_eq!(result.finish, Some(Finish::Ended));
        assert!(whole.tokens.starts_with(&result.tokens));
    }
}

#[test]
fn cancelling_keeps_what_was_said() {
    let (whole, _) = answer(&[], usize::MAX);
    for calls in [1, 7, 20] {
        let (result, shown) = answer(&[], calls);
        assert_eq!(result.tokens, whole.tokens[..calls]);
        assert!(result.text.starts_with(&shown));
        assert_eq!(result.finish, None);
    }
}

/// Samples of one prompt differ, do not depend on what is generated beside them, and come again.
#[test]
fn sampled_sequences_are_their_own() {
    let (model, tokenizer, prompt) = chat();
    let sampled = |samples, batch_size, seed| GenerateOptions {
        samples,
        batch_size,
        sampling: Sampling {
            temperature: 3.0,
            top_p: 0.98,
            seed,
            ..Sampling::greedy()
        },
        ..options(&tokenizer)
    };
    let prompts = vec![prompt.clone(), prompt[..prompt.len() - 9].to_vec(), prompt];
    let results = run(&model, &prompts, &sampled(4, 3, 5));
    assert_eq!(results.len(), 12, "four of every prompt");
    for i in 0..4 {
        for j in 0..i {
            assert_ne!(results[i].tokens, results[j].tokens, "samples {i} and {j}");
        }
    }
    assert_eq!(run(&model, &prompts, &sampled(4, 1, 5)), results);
    assert_ne!(run(&model, &prompts, &sampled(4, 3, 6)), results);
}
