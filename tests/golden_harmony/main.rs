//! Compares chat rendering, loss masks, parsing and tokenization with openai-harmony 0.0.8.
//!
//! The data is in `golden/harmony` next to this file, or in the directory `GOLDEN_DIR`. Names, counts and
//! expectations come from its files, and everything in them is visited. What differs on purpose is told
//! apart by what the data says, not by its name.

mod completions;
mod conversations;
mod golden;
#[path = "../support/o200k.rs"]
mod o200k;
mod parse;
mod template;
mod tokens;
mod vocabulary;

use vocabulary::{Reference, tiktoken_file, tokenizer};

#[test]
fn conversations_equal_the_library() {
    conversations::check("tiktoken", &Reference::new());
}

#[test]
fn conversations_equal_the_library_with_a_tokenizer_file() {
    conversations::check("tokenizer.json", &tokenizer());
}

#[test]
fn invalid_messages_are_refused() {
    conversations::check_errors(&Reference::new());
}

#[test]
fn chats_equal_the_published_template() {
    template::check(&Reference::new());
}

#[test]
fn messages_are_parsed_like_the_library_does() {
    parse::check(&Reference::new());
}

#[test]
fn completions_hold_the_messages_of_the_library() {
    completions::check(&Reference::new());
}

#[test]
fn tokens_equal_the_library() {
    tokens::check("tiktoken", &Reference::new());
    tokens::check_special(&Reference::new());
}

#[test]
fn tokens_equal_the_library_with_a_tokenizer_file() {
    tokens::check("tokenizer.json", &tokenizer());
}

#[test]
fn tokens_equal_the_library_with_a_tiktoken_file() {
    tokens::check("tiktoken file", &tiktoken_file());
}
