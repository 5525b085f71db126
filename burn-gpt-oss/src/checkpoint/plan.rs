//! Which tensors a checkpoint holds, in which file and where: known before any is written.

use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::form::StoredTensor;
use super::{CheckpointForm, TensorSpec};
use crate::error::GptOssError;

/// One tensor of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlannedTensor {
    pub stored: StoredTensor,
    /// Index of the parameter it comes from.
    pub spec: usize,
}

/// What the header of a safetensors file says of a tensor.
pub(super) trait InHeader {
    fn name(&self) -> &str;
    fn dtype(&self) -> Dtype;
    fn shape(&self) -> &[usize];

    fn n_bytes(&self) -> u64 {
        let elements: usize = self.shape().iter().product();
        (elements * self.dtype().bitsize() / 8) as u64
    }
}

impl InHeader for PlannedTensor {
    fn name(&self) -> &str {
        &self.stored.name
    }

    fn dtype(&self) -> Dtype {
        self.stored.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.stored.shape
    }
}

/// All tensors of a checkpoint in sorted order, so that codes come before their scales, as
/// llama.cpp's converter assumes.
pub(super) fn plan(
    specs: &[TensorSpec],
    form: CheckpointForm,
) -> Result<Vec<PlannedTensor>, GptOssError> {
    let mut tensors = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let planned = |stored| PlannedTensor {
            stored,
            spec: index,
        };
        tensors.extend(form.stored(spec)?.into_iter().map(planned));
    }
    tensors.sort_by(|a, b| a.stored.name.cmp(&b.stored.name));
    Ok(tensors)
}

/// Splits tensors into files of at most `shard_bytes`, at least one tensor each, order kept.
pub(super) fn shards<T: InHeader>(tensors: &[T], shard_bytes: u64) -> Vec<&[T]> {
    let (mut shards, mut start, mut size) = (Vec::new(), 0, 0);
    for (i, tensor) in tensors.iter().enumerate() {
        if i > start && size + tensor.n_bytes() > shard_bytes {
            shards.push(&tensors[start..i]);
            (start, size) = (i, 0);
        }
        size += tensor.n_bytes();
    }
    shards.push(&tensors[start..]);
    shards
}

/// File names: one plain file, or the numbered names transformers writes.
pub(super) fn shard_name(index: usize, count: usize) -> String {
    match count {
        1 => "model.safetensors".into(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
    }
}

/// The length prefix and header of a safetensors file, padded to eight bytes.
pub(super) fn header<T: InHeader>(tensors: &[T]) -> Vec<u8> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + tensor.n_bytes();
        let entry = json!({
            "dtype": tensor.dtype(),
            "shape": tensor.shape(),
            "data_offsets": [offset, end],
        });
        header.insert(tensor.name().to_owned(), entry);
        offset = end;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    bytes
}

/// `model.safetensors.index.json`.
pub(super) fn index<T: InHeader>(shards: &[&[T]]) -> Value {
    let total: u64 = shards
        .iter()
        .flat_map(|shard| shard.iter())
        .map(InHeader::n_bytes)
        .sum();
    let map: Map<String, Value> = shards
        .iter()
        .enumerate()
        .flat_map(|(i, shard)| shard.iter().map(move |tensor| (tensor, i)))
        .map(|(tensor, i)| (tensor.name().to_owned(), json!(shard_name(i, shards.len()))))
        .collect();
    json!({"metadata": {"total_size": total}, "weight_map": map})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::tensor_specs;
    use crate::config::GptOssConfig;

    #[test]
    fn sizes_of_the_published_20b_checkpoint() {
        let specs = tensor_specs(&GptOssConfig::gpt_oss_20b());
        let total: u64 = plan(&specs, CheckpointForm::Mxfp4)
            .expect("whole blocks")
            .iter()
            .map(InHeader::n_bytes)
            .sum();
        assert_eq!(total, 10_152_345_600 + 3_608_919_168);
    }

    #[test]
    fn blocks_never_follow_their_scales() {
        let specs = tensor_specs(&GptOssConfig::gpt_oss_20b());
        let tensors = plan(&specs, CheckpointForm::Mxfp4).expect("whole blocks");
        for pair in tensors.windows(2) {
            assert!(pair[0].stored.name < pair[1].stored.name);
        }
        let split = shards(&tensors, 100 << 20);
        assert_eq!(
            split.iter().map(|shard| shard.len()).sum::<usize>(),
            tensors.len()
        );
        assert!(split.iter().all(|shard| !shard.is_empty()));
    }
}
