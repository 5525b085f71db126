//! Checkpoint directories on disk: raw tensors, copies, snapshots.
#![allow(dead_code)] // Every test binary uses a part of it.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tempfile::TempDir;

use crate::golden;

pub const WEIGHTS: &str = "model.safetensors";
pub const INDEX: &str = "model.safetensors.index.json";

/// A tensor as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Raw {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

pub type RawTensors = BTreeMap<String, Raw>;

pub fn read_tensors(file: &Path) -> RawTensors {
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let parsed = SafeTensors::deserialize(&bytes)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let raw = |(name, view): (&str, TensorView<'_>)| {
        let (dtype, shape) = (view.dtype(), view.shape().to_vec());
        (
            name.to_string(),
            Raw {
                dtype,
                shape,
                bytes: view.data().to_vec(),
            },
        )
    };
    parsed.iter().map(raw).collect()
}

pub fn write_tensors(file: &Path, tensors: &RawTensors) {
    let views = tensors.iter().map(|(name, raw)| {
        (
            name,
            TensorView::new(raw.dtype, raw.shape.clone(), &raw.bytes).expect("consistent tensor"),
        )
    });
    std::fs::write(
        file,
        safetensors::serialize(views, None).expect("serializable"),
    )
    .expect("written");
}

/// All tensors of a checkpoint directory, whatever its shards.
pub fn all_tensors(dir: &Path) -> RawTensors {
    shards(dir)
        .iter()
        .flat_map(|name| read_tensors(&dir.join(name)))
        .collect()
}

/// Names of the safetensors files in a directory, sorted.
pub fn shards(dir: &Path) -> Vec<String> {
    let names = entries(dir)
        .into_iter()
        .filter(|name| name.ends_with(".safetensors"));
    names.collect()
}

/// Names in a directory, sorted.
pub fn entries(dir: &Path) -> Vec<String> {
    let entries =
        std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// The files of a directory with their content.
pub fn snapshot(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |name: String| {
        (
            name.clone(),
            std::fs::read(dir.join(name)).expect("readable"),
        )
    };
    entries(dir).into_iter().map(read).collect()
}

pub fn read_json(file: &Path) -> Value {
    let text = std::fs::read_to_string(file);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Applies a change to a JSON file.
pub fn edit_json(file: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value = read_json(file);
    edit(&mut value);
    std::fs::write(file, value.to_string()).expect("written");
}

/// Applies a change to the tensors of a safetensors file.
pub fn edit_tensors(file: &Path, edit: impl FnOnce(&mut RawTensors)) {
    let mut tensors = read_tensors(file);
    edit(&mut tensors);
    write_tensors(file, &tensors);
}

/// A writable copy of a directory of the golden data.
pub fn copy_of(directory: &str) -> TempDir {
    let copy = TempDir::new().expect("temporary directory");
    let source = golden::directory().join(directory);
    for name in entries(&source) {
        // Not `fs::copy`, which would copy a read-only mode.
        let bytes = std::fs::read(source.join(&name)).expect("readable");
        std::fs::write(copy.path().join(name), bytes).expect("written");
    }
    copy
}

/// Copies a directory of the repository.
pub fn copy_tree(from: &str, to: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(from);
    std::fs::create_dir_all(to).expect("a directory");
    for name in entries(&source) {
        let bytes = std::fs::read(source.join(&name)).expect("readable");
        std::fs::write(to.join(name), bytes).expect("written");
    }
}
