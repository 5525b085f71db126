use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Every data file of the directory; another one fails.
const FILES: [&str; 4] = [
    "conversations.json",
    "parse.json",
    "template.json",
    "tokens.json",
];

fn directory() -> PathBuf {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"));
    std::env::var_os("GOLDEN_DIR")
        .map_or_else(default, PathBuf::from)
        .join("harmony")
}

pub fn load(file: &str) -> Value {
    let directory = directory();
    let entries = std::fs::read_dir(&directory);
    for entry in entries.unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let name = entry.unwrap().file_name();
        let is_data = PathBuf::from(&name)
            .extension()
            .is_some_and(|ext| ext == "json");
        assert!(
            !is_data || FILES.iter().any(|&known| name == known),
            "{name:?} is not visited by any test"
        );
    }
    let path = directory.join(file);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Fails on a key that is not in `known`.
pub fn assert_keys(what: &str, object: &Value, known: &[&str]) {
    for key in object
        .as_object()
        .unwrap_or_else(|| panic!("{what}: not an object"))
        .keys()
    {
        assert!(
            known.contains(&key.as_str()),
            "{what}: key `{key}` is not visited by any test"
        );
    }
}

pub fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object[key]
        .as_array()
        .unwrap_or_else(|| panic!("`{key}` is not a list: {object}"))
}

pub fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key]
        .as_str()
        .unwrap_or_else(|| panic!("`{key}` is not a text: {object}"))
}

pub fn read<T: DeserializeOwned>(what: &str, value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// The ranges in which the flags are set.
pub fn ranges(flags: &[bool]) -> Vec<[usize; 2]> {
    let mut ranges: Vec<[usize; 2]> = Vec::new();
    for (index, _) in flags.iter().enumerate().filter(|(_, flag)| **flag) {
        match ranges.last_mut() {
            Some([_, end]) if *end == index => *end += 1,
            _ => ranges.push([index, index + 1]),
        }
    }
    ranges
}

/// Joins ranges that touch: `ranges` cannot tell them apart.
pub fn joined(ranges: &[[usize; 2]]) -> Vec<[usize; 2]> {
    let mut joined: Vec<[usize; 2]> = Vec::new();
    for &[start, end] in ranges {
        match joined.last_mut() {
            Some([_, last]) if *last == start => *last = end,
            _ => joined.push([start, end]),
        }
    }
    joined
}
