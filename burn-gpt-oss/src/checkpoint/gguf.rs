//! The header of a GGUF file, version 3: keys, names, shapes and places of tensors (`gguf.md` of ggml).

mod metadata;
mod read;
mod source;
mod tokenizer;
mod value;

use safetensors::Dtype;

use super::CheckpointReader;
use super::convert::{Element, OutputTensor};
use super::plan::InHeader;
use crate::error::GptOssError;
pub use read::{GgufFile, GgufTensor};
pub use value::GgufValue;
use value::put_string;

/// The name of the file in its directory.
pub(super) const FILE: &str = "model.gguf";
/// Where tensors begin.
pub(super) const ALIGNMENT: u64 = 32;

const VERSION: u32 = 3;

/// Bytes up to the first tensor, and what a user should know.
pub(super) struct Header {
    pub bytes: Vec<u8>,
    pub notes: Vec<String>,
}

/// The keys that a model's file has, but for those of the tokenizer.
pub(super) fn model_keys(source: &CheckpointReader) -> Vec<(String, GgufValue)> {
    metadata::of_model(source, &mut Vec::new())
}

/// The header for these tensors, whose order is that of the file.
pub(super) fn header(
    source: &CheckpointReader,
    tensors: &[OutputTensor],
) -> Result<Header, GptOssError> {
    let mut notes = Vec::new();
    let mut keys = metadata::of_model(source, &mut notes);
    keys.extend(tokenizer::of_checkpoint(source, &mut notes)?);
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((keys.len() as u64).to_le_bytes());
    for (key, value) in &keys {
        put_string(&mut bytes, key);
        value.put(&mut bytes);
    }
    let mut offset = 0u64;
    for tensor in tensors {
        put_string(&mut bytes, &tensor.name);
        bytes.extend((tensor.shape.len() as u32).to_le_bytes());
        for size in tensor.shape.iter().rev() {
            bytes.extend((*size as u64).to_le_bytes());
        }
        bytes.extend(ggml_type(tensor.element).to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        offset = (offset + tensor.n_bytes()).next_multiple_of(ALIGNMENT);
    }
    let aligned = (bytes.len() as u64).next_multiple_of(ALIGNMENT);
    bytes.resize(aligned as usize, 0);
    Ok(Header { bytes, notes })
}

/// Numbers of `ggml.h`.
fn ggml_type(element: Element) -> u32 {
    match element {
        Element::Mxfp4Blocks => 39,
        Element::Safetensors(Dtype::BF16) => 30,
        Element::Safetensors(_) => 0,
    }
}
