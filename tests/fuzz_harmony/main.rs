//! Random conversations and random tokens: nothing panics, and what is rendered is read back.
//!
//! ```text
//! FUZZ_SECONDS=1200 cargo test --test fuzz_harmony -- --nocapture
//! ```

mod conversations;
#[path = "../support/fuzz.rs"]
mod fuzz;
mod input;
mod tokens;

use std::sync::atomic::Ordering;

use burn_gpt_oss::Tokenizer;

use fuzz::corpus;
use input::Input;

type Target = fn(&mut Input<'_>, &Tokenizer);

#[test]
fn conversations_are_read_back() {
    let n_runs = fuzz("conversations", conversations::run);
    let rendered = conversations::RENDERED.load(Ordering::Relaxed);
    println!("{rendered} renderings read back");
    assert!(4 * rendered > 3 * n_runs, "{rendered} of {n_runs}");
}

#[test]
fn any_tokens_are_parsed() {
    fuzz("tokens", tokens::run);
}

/// The number of inputs.
fn fuzz(name: &str, target: Target) -> u64 {
    let tokenizer = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/assets/tiny-gpt-oss/tokenizer.json"
    );
    let tokenizer = Tokenizer::from_file(tokenizer).expect("the embedded tokenizer");
    fuzz::fuzz(&corpus("fuzz_harmony", name), Vec::new(), |bytes| {
        // Longer inputs say no more.
        target(&mut Input::new(&bytes[..bytes.len().min(512)]), &tokenizer);
    })
}
