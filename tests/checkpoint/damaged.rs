//! Files that are cut short, hostile or absent.

use std::fs::OpenOptions;
use std::path::Path;

use burn_gpt_oss::CheckpointReader;

use crate::damage::{SHARDED, SINGLE, refused};
use crate::files::{WEIGHTS, shards};

fn truncate(file: &Path, len: impl FnOnce(u64) -> u64) {
    let file = OpenOptions::new().write(true).open(file).unwrap();
    let old = file.metadata().unwrap().len();
    file.set_len(len(old)).unwrap();
}

fn header_len(file: &Path) -> u64 {
    u64::from_le_bytes(std::fs::read(file).unwrap()[..8].try_into().unwrap())
}

fn write_header(file: &Path, header: &str, data: &[u8]) {
    let len = (header.len() as u64).to_le_bytes();
    std::fs::write(file, [&len, header.as_bytes(), data].concat()).unwrap();
}

#[test]
fn truncated_files_are_named() {
    let weights = |dir: &Path| dir.join(WEIGHTS);
    let cut = "truncated";
    refused(
        SINGLE,
        |dir| truncate(&weights(dir), |len| len - 1),
        &[WEIGHTS, cut],
    );
    refused(
        SINGLE,
        |dir| truncate(&weights(dir), |len| len / 2),
        &[WEIGHTS, cut],
    );
    refused(
        SINGLE,
        |dir| truncate(&weights(dir), |len| len + 8),
        &[WEIGHTS, "bytes"],
    );
    let in_header = |dir: &Path| truncate(&weights(dir), |_| 8 + header_len(&weights(dir)) / 2);
    refused(SINGLE, in_header, &[WEIGHTS, "header"]);
    refused(
        SINGLE,
        |dir| truncate(&weights(dir), |_| 5),
        &[WEIGHTS, "5 bytes"],
    );
    refused(
        SINGLE,
        |dir| truncate(&weights(dir), |_| 0),
        &[WEIGHTS, "0 bytes"],
    );
    let last = shards(&crate::golden::directory().join(SHARDED))
        .pop()
        .expect("a shard");
    refused(
        SHARDED,
        |dir| truncate(&dir.join(&last), |len| len - 1),
        &[&last, cut],
    );
}

#[test]
fn hostile_headers_are_named() {
    let with_len = |len: u64| {
        move |dir: &Path| {
            let file = dir.join(WEIGHTS);
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[..8].copy_from_slice(&len.to_le_bytes());
            std::fs::write(file, bytes).unwrap();
        }
    };
    for len in [u64::MAX, u64::MAX - 7, u64::MAX / 2, 1 << 40, 1 << 20, 0, 1] {
        refused(SINGLE, with_len(len), &[WEIGHTS]);
    }
    let with_header =
        |header: &'static str| move |dir: &Path| write_header(&dir.join(WEIGHTS), header, &[0; 64]);
    for header in [
        "{",
        "[]",
        "\u{7}",
        r#"{"x":{"dtype":"BF16","shape":[32],"data_offsets":[0,65]}}"#,
        r#"{"x":{"dtype":"BF16","shape":[32],"data_offsets":[64,0]}}"#,
        r#"{"x":{"dtype":"BF16","shape":[32],"data_offsets":[0,18446744073709551615]}}"#,
        r#"{"x":{"dtype":"BF16","shape":[4294967296,4294967296,2],"data_offsets":[0,64]}}"#,
        r#"{"x":{"dtype":"BF17","shape":[32],"data_offsets":[0,64]}}"#,
        r#"{"x":{"dtype":"BF16","shape":[16],"data_offsets":[0,32]},"y":{"dtype":"BF16","shape":[16],"data_offsets":[16,64]}}"#,
    ] {
        refused(SINGLE, with_header(header), &[WEIGHTS]);
    }
}

#[test]
fn absent_files_are_named() {
    let remove =
        |name: &'static str| move |dir: &Path| std::fs::remove_file(dir.join(name)).unwrap();
    refused(SINGLE, remove("config.json"), &["config.json"]);
    refused(SINGLE, remove(WEIGHTS), &[WEIGHTS]);
    for shard in shards(&crate::golden::directory().join(SHARDED)) {
        refused(
            SHARDED,
            |dir| std::fs::remove_file(dir.join(&shard)).unwrap(),
            &[&shard, "index"],
        );
    }
    let missing = Path::new("/no such directory");
    let text = CheckpointReader::open(missing)
        .map(|_| ())
        .expect_err("absent")
        .to_string();
    assert!(text.contains("no such directory"), "{text}");
}
