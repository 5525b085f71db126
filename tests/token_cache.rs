//! Datasets that are kept as tokens.

use std::path::Path;

use burn::data::dataset::Dataset;
use burn_gpt_oss::{LossMask, Tokenizer};
use burn_qat_train::{ChatFormat, DataSource, ReadOptions, TokenCache, TokenFile, TokenSubset};

fn tokenizer() -> Tokenizer {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/assets/tiny-gpt-oss/tokenizer.json"
    );
    Tokenizer::from_file(file).expect("the embedded tokenizer")
}

fn rows(n: usize) -> String {
    let row = |i| format!("{{\"prompt\": \"What is {i}?\", \"completion\": \"A number, {i}.\"}}\n");
    (0..n).map(row).collect()
}

/// The tokens, and whether they were read anew.
fn tokens(cache: &TokenCache, path: &Path, format: &ChatFormat) -> (TokenFile, bool) {
    let (tokenizer, reading) = (tokenizer(), ReadOptions::default());
    let source = DataSource {
        path,
        reading: &reading,
        format,
        tokenizer: &tokenizer,
    };
    let mut read = false;
    let tokens = cache.tokens(source, |_| read = true).expect("a dataset");
    (tokens, read)
}

#[test]
fn a_dataset_is_read_once_and_again_when_anything_changes() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data.jsonl");
    std::fs::write(&data, rows(9000)).expect("a file");
    let cache = TokenCache::new(dir.path().join("cache"));
    let format = ChatFormat::default();
    let (first, read) = tokens(&cache, &data, &format);
    assert!(read && first.len() == 9000);
    let (second, read) = tokens(&cache, &data, &format);
    assert!(!read);
    assert_eq!(first.fingerprint(), second.fingerprint());
    for index in [0, 4095, 4096, 8999] {
        assert_eq!(
            first.example(index).unwrap(),
            second.example(index).unwrap()
        );
        let record = second.record(index).expect("a conversation");
        assert_eq!(record.line, Some(index + 1));
        assert_eq!(
            format.tokenize(&record, &tokenizer()).unwrap(),
            second.example(index).unwrap()
        );
    }
    let other = ChatFormat {
        loss_mask: LossMask::All,
        ..format.clone()
    };
    assert!(tokens(&cache, &data, &other).1, "another mask");
    std::fs::write(&data, rows(9001)).expect("a file");
    let (changed, read) = tokens(&cache, &data, &format);
    assert!(read && changed.len() == 9001);
    assert_ne!(changed.fingerprint(), first.fingerprint());
}

/// Its tokens would be kept as those of the file before, and found when that comes back.
#[test]
fn a_file_that_changes_while_it_is_read_is_refused_and_not_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data.jsonl");
    std::fs::write(&data, rows(10)).expect("a file");
    let cache = TokenCache::new(dir.path().join("cache"));
    let (tokenizer, reading, format) = (tokenizer(), ReadOptions::default(), ChatFormat::default());
    let source = DataSource {
        path: &data,
        reading: &reading,
        format: &format,
        tokenizer: &tokenizer,
    };
    let change = |_| std::fs::write(&data, rows(11)).expect("a file");
    let error = cache
        .tokens(source, change)
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("data.jsonl") && error.contains("changed while"),
        "{error}"
    );
    std::fs::write(&data, rows(10)).expect("a file");
    let (tokens, read) = tokens(&cache, &data, &format);
    assert!(read && tokens.len() == 10, "nothing was kept");
}

#[test]
fn two_runs_that_begin_together_share_what_the_first_reads() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data.jsonl");
    std::fs::write(&data, rows(500)).expect("a file");
    let cache = TokenCache::new(dir.path().join("cache"));
    let run = || tokens(&cache, &data, &ChatFormat::default());
    let reads = std::thread::scope(|scope| {
        let runs = [0; 4].map(|_| scope.spawn(run));
        runs.map(|run| run.join().expect("no panic"))
    });
    assert_eq!(reads.iter().filter(|(_, read)| *read).count(), 1);
    assert!(reads.iter().all(|(tokens, _)| tokens.len() == 500));
}

#[test]
fn rows_of_several_conversations_are_those_of_packing() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data.jsonl");
    std::fs::write(&data, rows(3)).expect("a file");
    let (file, _) = tokens(&TokenCache::temporary(), &data, &ChatFormat::default());
    let examples = [0, 1, 2].map(|index| file.example(index).expect("an example"));
    let subset = TokenSubset::new(file.clone(), vec![vec![2, 0], vec![1]]);
    assert_eq!(subset.len(), 2);
    let row = subset.get(0).expect("a row");
    assert_eq!(
        row.tokens,
        [examples[2].tokens.as_slice(), &examples[0].tokens].concat()
    );
    assert_eq!(row.starts, [examples[2].tokens.len()]);
    assert_eq!(subset.get(1).expect("a row"), examples[1]);
    assert_eq!(subset.into_examples().len(), 2);
}
