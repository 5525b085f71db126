//! GGUF files that nobody should write.

use burn_gpt_oss::{ConvertTarget, GgufFile, GgufValue};
use tempfile::TempDir;

use crate::{converted, golden};

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A file of version 3 with these keys and tensors.
fn file(keys: &[Vec<u8>], tensors: &[Vec<u8>], data: usize) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((keys.len() as u64).to_le_bytes());
    bytes.extend(keys.concat());
    bytes.extend(tensors.concat());
    bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
    bytes
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&string(name)[..], &kind.to_le_bytes(), value].concat()
}

fn tensor(name: &str, shape: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let sizes: Vec<u8> = shape.iter().flat_map(|size| size.to_le_bytes()).collect();
    let axes = (shape.len() as u32).to_le_bytes();
    [
        &string(name)[..],
        &axes,
        &sizes,
        &kind.to_le_bytes(),
        &offset.to_le_bytes(),
    ]
    .concat()
}

fn open(bytes: &[u8]) -> Result<GgufFile, String> {
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("x.gguf");
    std::fs::write(&path, bytes).unwrap();
    GgufFile::open(&path).map_err(|error| error.to_string())
}

#[test]
fn every_fault_of_a_header_has_its_message() {
    let f32s = |name: &str, offset| tensor(name, &[8], 0, offset);
    let huge = u64::MAX.to_le_bytes();
    let nested = [9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()].concat();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "failed"),
        ("other magic", b"GGML\x03\0\0\0".to_vec(), "GGUF"),
        ("version 1", b"GGUF\x01\0\0\0".to_vec(), "version 1"),
        ("big endian", b"GGUF\0\0\0\x03".to_vec(), "version"),
        ("no counts", b"GGUF\x03\0\0\0\x01".to_vec(), "failed"),
        (
            "2^64 tensors",
            [b"GGUF\x03\0\0\0", &huge[..]].concat(),
            "tensors cannot be",
        ),
        (
            "2^64 keys",
            [b"GGUF\x03\0\0\0", &[0; 8][..], &huge].concat(),
            "keys cannot be",
        ),
        (
            "long name",
            file(&[huge.to_vec()], &[], 64),
            "bytes of a text",
        ),
        (
            "unknown type",
            file(&[key("a", 13, &[])], &[], 64),
            "type 13",
        ),
        (
            "a truth value of 2",
            file(&[key("a", 7, &[2])], &[], 64),
            "truth value",
        ),
        (
            "no UTF-8",
            file(&[key("a", 8, &[2, 0, 0, 0, 0, 0, 0, 0, 255, 255])], &[], 64),
            "UTF-8",
        ),
        (
            "list of lists",
            file(&[key("a", 9, &nested)], &[], 64),
            "list of lists",
        ),
        (
            "long list",
            file(
                &[key("a", 9, &[&4u32.to_le_bytes()[..], &huge].concat())],
                &[],
                64,
            ),
            "elements of a list",
        ),
        (
            "twice a key",
            file(&[key("a", 0, &[1]), key("a", 0, &[1])], &[], 64),
            "`a` occurs twice",
        ),
        (
            "alignment 3",
            file(&[key("general.alignment", 4, &3u32.to_le_bytes())], &[], 64),
            "general.alignment",
        ),
        (
            "twice a tensor",
            file(&[], &[f32s("a", 0), f32s("a", 32)], 64),
            "`a` occurs twice",
        ),
        (
            "overlap",
            file(&[], &[tensor("a", &[16], 0, 0), f32s("b", 32)], 64),
            "overlap",
        ),
        (
            "odd offset",
            file(&[], &[f32s("a", 4)], 64),
            "multiple of 32",
        ),
        (
            "beyond the file",
            file(&[], &[f32s("a", 64)], 64),
            "truncated",
        ),
        (
            "2^64 elements",
            file(&[], &[tensor("a", &[1 << 40, 1 << 40], 0, 0)], 64),
            "more elements",
        ),
        (
            "2^63 bytes",
            file(&[], &[tensor("a", &[1 << 62], 0, 0)], 64),
            "more bytes",
        ),
        (
            "offset of 2^64",
            file(&[], &[f32s("a", !31)], 64),
            "beyond all files",
        ),
        (
            "five axes",
            file(&[], &[tensor("a", &[1; 5], 0, 0)], 64),
            "5 axes",
        ),
        (
            "type of others",
            file(&[], &[tensor("a", &[32], 4, 0)], 64),
            "type 4",
        ),
        (
            "half a block",
            file(&[], &[tensor("a", &[33, 2], 39, 0)], 64),
            "whole blocks",
        ),
    ];
    for (what, bytes, part) in cases {
        let error = open(&bytes)
            .err()
            .unwrap_or_else(|| panic!("{what} was read"));
        assert!(
            error.contains(part) && error.contains("x.gguf"),
            "{what}: {error}"
        );
    }
    let temp = TempDir::new().unwrap();
    let path = temp.path().join("fine.gguf");
    let bytes = file(&[key("a", 0, &[7])], &[f32s("a", 0), f32s("b", 32)], 64);
    std::fs::write(&path, bytes).unwrap();
    let fine = GgufFile::open(&path).unwrap();
    assert_eq!(fine.keys["a"], GgufValue::U8(7));
    assert_eq!(fine.bytes("b").unwrap(), [0; 32]);
}

/// Every truncation of a real file, and a random byte changed, gives an error or a file: no crash.
#[test]
fn damaged_headers_do_not_crash() {
    let (_temp, out) = converted(
        &golden::directory().join("tiny-gpt-oss"),
        ConvertTarget::Gguf,
    );
    let bytes = std::fs::read(out.join("model.gguf")).unwrap();
    let header = 12_000.min(bytes.len());
    for len in (0..header).step_by(97) {
        open(&bytes[..len]).unwrap_err();
    }
    let mut state = 1u64;
    for _ in 0..300 {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let mut damaged = bytes.clone();
        damaged[(state >> 33) as usize % header] ^= (state >> 20) as u8 | 1;
        let _ = open(&damaged);
    }
}
