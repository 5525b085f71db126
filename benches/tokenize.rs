//! Rows to tokens: reading, checking, rendering, tokenizing and writing of a dataset, and finding it again.
//!
//! ```text
//! DATA=rows.jsonl TOKENIZER=gpt-oss/tokenizer.json cargo bench --bench tokenize
//! python scripts/peer_tokenize.py rows.jsonl gpt-oss/tokenizer.json   # the package `tokenizers` beside it
//! ```
//!
//! Without DATA it makes 20,000 rows, and without TOKENIZER it takes the embedded one. Only texts are tokenized by the peer;
//! here tokens of headers count, too. The floor is one pass over the bytes of the file.

#[path = "support/process.rs"]
mod process;

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use burn_gpt_oss::Tokenizer;
use burn_qat_train::{ChatFormat, DataSource, ReadOptions, TokenCache, TokenFile};
use process::Process;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TURNS: usize = 3;

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = std::env::var_os("DATA").map_or_else(|| made(dir.path()), PathBuf::from);
    let embedded = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/assets/tiny-gpt-oss/tokenizer.json"
    );
    let tokenizer = std::env::var_os("TOKENIZER").map_or_else(|| embedded.into(), PathBuf::from);
    let tokenizer = Tokenizer::from_file(tokenizer).expect("a tokenizer");
    let (reading, format) = (ReadOptions::default(), ChatFormat::default());
    let source = DataSource {
        path: &data,
        reading: &reading,
        format: &format,
        tokenizer: &tokenizer,
    };
    let peak = Peak::watch();
    for turn in 0..TURNS {
        let cache = TokenCache::new(dir.path().join(format!("turn{turn}")));
        let start = Instant::now();
        let tokens = cache.tokens(source, |_| {}).expect("a dataset");
        let seconds = start.elapsed().as_secs_f64();
        let n: usize = (0..tokens.len()).map(|index| tokens.n_tokens(index)).sum();
        println!(
            "{} rows, {n} tokens in {seconds:.2} s: {:.0} tokens/s, {:.0} rows/s",
            tokens.len(),
            n as f64 / seconds,
            tokens.len() as f64 / seconds
        );
        again(&cache, source, &tokens);
        std::fs::remove_dir_all(dir.path().join(format!("turn{turn}"))).expect("removed");
    }
    println!("anonymous memory, at most {:.2} GB", peak.gigabytes());
}

/// A second run finds the tokens.
fn again(cache: &TokenCache, source: DataSource<'_>, first: &TokenFile) {
    let start = Instant::now();
    let tokens = cache
        .tokens(source, |_| panic!("read again"))
        .expect("kept");
    assert_eq!(tokens.len(), first.len());
    println!("found again in {:.2} s", start.elapsed().as_secs_f64());
}

/// Rows of about a kilobyte with three messages.
fn made(dir: &Path) -> PathBuf {
    let path = dir.join("rows.jsonl");
    let mut out = BufWriter::new(std::fs::File::create(&path).expect("a file"));
    let words = [
        "the ",
        "model ",
        "Größe ",
        "answers ",
        "42 ",
        "of ",
        "questions, ",
        "x1 ",
    ];
    let text = |row: usize, n: usize| -> String {
        (0..n)
            .map(|i| words[(row * 31 + i * i * 7 + i) % words.len()])
            .collect()
    };
    for row in 0..20_000 {
        let messages = serde_json::json!([
            {"role": "system", "content": format!("You are helpful, number {row}.")},
            {"role": "user", "content": text(row, 50)},
            {"role": "assistant", "thinking": text(row + 1, 60), "content": text(row + 2, 60)},
        ]);
        writeln!(out, "{}", serde_json::json!({ "messages": messages })).expect("written");
    }
    out.flush().expect("written");
    path
}

/// The most anonymous memory, looked at every 20 ms.
struct Peak {
    bytes: Arc<AtomicU64>,
}

impl Peak {
    fn watch() -> Self {
        let bytes = Arc::new(AtomicU64::new(0));
        let most = Arc::clone(&bytes);
        std::thread::spawn(move || {
            loop {
                most.fetch_max(Process::now().anonymous, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { bytes }
    }

    fn gigabytes(&self) -> f64 {
        self.bytes.load(Ordering::Relaxed) as f64 / 1e9
    }
}
