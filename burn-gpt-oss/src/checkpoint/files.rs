//! Which files hold the tensors of a checkpoint directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::mapped::MappedFile;
use crate::error::GptOssError;
use crate::json_file::{parse, read_text};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The opened files, and for every tensor the number of its file.
pub(super) type Files = (Vec<MappedFile>, BTreeMap<String, usize>);

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Opens `model.safetensors`, or the shards that the index lists.
pub(super) fn open(dir: &Path) -> Result<Files, GptOssError> {
    let index = dir.join(INDEX);
    if !index.exists() {
        return open_single(dir);
    }
    let text = read_text(&index)?;
    let parsed: Index = parse(&text, &index)?;
    // Programs differ in which of the two they take; one is a leftover.
    let single = dir.join(SINGLE);
    let other = parsed.weight_map.values().find(|file| *file != SINGLE);
    match other {
        // An index of the single file adds nothing, and it may be older than the file.
        None if single.exists() => open_single(dir),
        Some(other) if single.exists() => Err(GptOssError::AmbiguousFiles {
            single,
            index,
            shard: other.clone(),
        }),
        _ => open_shards(dir, &index, &parsed),
    }
}

/// Opens the shards that the index lists, whatever else is there.
pub(super) fn open_indexed(dir: &Path) -> Result<Files, GptOssError> {
    let index = dir.join(INDEX);
    open_shards(dir, &index, &parse(&read_text(&index)?, &index)?)
}

fn open_single(dir: &Path) -> Result<Files, GptOssError> {
    let path = dir.join(SINGLE);
    if path.exists() {
        return open_all(&[path]);
    }
    let others = safetensors_in(dir)?;
    if !others.is_empty() {
        return open_all(&others);
    }
    let hint = match dir.join("original").is_dir() {
        true => {
            "the folder `original` in it holds the weights in OpenAI's own layout; give that folder"
        }
        false => {
            "a checkpoint holds model.safetensors, or model.safetensors.index.json and the shards it lists"
        }
    };
    Err(GptOssError::MissingFile {
        path,
        hint: hint.into(),
    })
}

/// Files without an index, in the order of their names.
fn safetensors_in(dir: &Path) -> Result<Vec<PathBuf>, GptOssError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(GptOssError::io(dir, "list"))? {
        let path = entry.map_err(GptOssError::io(dir, "list"))?.path();
        if path.extension().is_some_and(|end| end == "safetensors") && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn open_all(paths: &[PathBuf]) -> Result<Files, GptOssError> {
    let (mut files, mut locations) = (Vec::new(), BTreeMap::new());
    for path in paths {
        let file = MappedFile::open(path)?;
        for name in file.metadata.tensors().into_keys() {
            if let Some(other) = locations.insert(name.clone(), files.len()) {
                return Err(GptOssError::DuplicateTensor {
                    paths: [paths[other].clone(), path.clone()],
                    tensor: name,
                });
            }
        }
        files.push(file);
    }
    Ok((files, locations))
}

fn open_shards(dir: &Path, index: &Path, parsed: &Index) -> Result<Files, GptOssError> {
    // Shards are taken from the index alone: published shard names do not follow one pattern.
    let mut by_file: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, file) in &parsed.weight_map {
        by_file.entry(file).or_default().push(tensor);
    }
    let (mut files, mut locations) = (Vec::new(), BTreeMap::new());
    for (name, tensors) in by_file {
        let is_name = Path::new(name).file_name().is_some_and(|file| file == name);
        if !is_name || name.contains(['/', '\\']) {
            let message = format!("`{name}` must be a file name without directories");
            let key = format!("weight_map.{}", tensors[0]);
            return Err(GptOssError::Json {
                path: index.into(),
                key,
                message,
            });
        }
        let path = dir.join(name);
        if !path.is_file() {
            let first = tensors[0].to_string();
            return Err(GptOssError::MissingShard {
                path,
                tensors: tensors.len(),
                first,
            });
        }
        let file = MappedFile::open(&path)?;
        for tensor in tensors {
            if file.metadata.info(tensor).is_none() {
                return Err(GptOssError::MissingTensor {
                    path,
                    tensor: tensor.into(),
                    hint: "the index places it there; index and shard belong to different versions"
                        .into(),
                });
            }
            locations.insert(tensor.to_string(), files.len());
        }
        files.push(file);
    }
    Ok((files, locations))
}
