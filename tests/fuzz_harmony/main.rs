//! Random conversations and random tokens: nothing panics, and what is rendered is read back.
//!
//! Each target runs its corpus and then mutations of it for two seconds, or for `FUZZ_SECONDS`. An input that
//! fails is written into the corpus, where it stays as a test:
//!
//! ```text
//! FUZZ_SECONDS=1200 cargo test --test fuzz_harmony -- --nocapture
//! ```

mod conversations;
mod input;
mod tokens;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use burn_gpt_oss::Tokenizer;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

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
    let dir = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fuzz_harmony/corpus"
    ))
    .join(name);
    let mut corpus = read(&dir);
    for bytes in &corpus {
        target(&mut Input::new(bytes), &tokenizer);
    }
    let seconds = std::env::var("FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let (time, start) = (Duration::from_secs(seconds.unwrap_or(2)), Instant::now());
    // Long runs see other inputs each time, tests always the same.
    let seed = seconds.map_or(7, |_| std::process::id().into());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut n_runs = 0u64;
    while start.elapsed() < time {
        let bytes = mutated(&corpus, &mut random);
        let run = catch_unwind(AssertUnwindSafe(|| {
            target(&mut Input::new(&bytes), &tokenizer)
        }));
        if run.is_err() {
            let path = dir.join(format!("failed_{seed}_{n_runs}"));
            std::fs::write(&path, &bytes).expect("the corpus can be written");
            panic!("{name} failed; the input is kept as {}", path.display());
        }
        n_runs += 1;
        if corpus.len() < 4096 && random.random_range(0..8) == 0 {
            corpus.push(bytes);
        }
    }
    println!("{name}: {n_runs} inputs, seed {seed}");
    assert!(n_runs > 0);
    n_runs
}

fn read(dir: &PathBuf) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let corpus: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| std::fs::read(path).expect("an input"))
        .collect();
    assert!(!corpus.is_empty(), "{}: empty", dir.display());
    corpus
}

/// An input with bytes that are changed, added or taken away, or joined with another.
fn mutated(corpus: &[Vec<u8>], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = corpus[random.random_range(0..corpus.len())].clone();
    for _ in 0..random.random_range(1..8) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..5) {
            0 if at < bytes.len() => bytes[at] = random.random(),
            1 => bytes.insert(at, random.random()),
            2 if at < bytes.len() => {
                bytes.remove(at);
            }
            3 => {
                let other = &corpus[random.random_range(0..corpus.len())];
                bytes.truncate(at);
                bytes.extend(&other[at.min(other.len())..]);
            }
            _ => bytes.extend((0..8).map(|_| random.random::<u8>())),
        }
    }
    bytes.truncate(512);
    bytes
}
