//! Global scales of the layers of experts, of which compressed-tensors stores reciprocals.

use std::collections::BTreeMap;

use safetensors::Dtype;

use super::{Gather, Group};
use crate::checkpoint::located::{Located, Place};
use crate::error::GptOssError;

impl Gather<'_> {
    /// Reciprocals, as the published names have them: one for all experts if they agree.
    pub(super) fn global(&self, group: &Group, only_one: bool) -> Result<Located, GptOssError> {
        let mut scales = BTreeMap::new();
        for ((expert, _), (name, tensor)) in group {
            let scale = self.reciprocal(name, tensor)?;
            let other = scales.insert(*expert, scale);
            if other.is_some_and(|other| other != scale) {
                return Err(unlike(name, "gate_proj and up_proj of one expert"));
            }
        }
        let scales: Vec<f32> = scales.into_values().collect();
        let equal = scales.windows(2).all(|pair| pair[0] == pair[1]);
        let name = group.values().next().map_or("", |(name, _)| name);
        let scales = match (equal, only_one) {
            (true, _) => &scales[..1],
            (false, true) => return Err(unlike(name, "the experts")),
            (false, false) => &scales[..],
        };
        Ok(Located {
            dtype: Dtype::F32,
            shape: if equal {
                Vec::new()
            } else {
                vec![scales.len()]
            },
            place: Place::Computed(scales.iter().flat_map(|s| s.to_le_bytes()).collect()),
        })
    }

    fn reciprocal(&self, name: &str, tensor: &Located) -> Result<f32, GptOssError> {
        let bytes = tensor.bytes(self.files);
        let value = match (tensor.dtype, bytes.as_ref().try_into()) {
            (Dtype::F32, Ok(bytes)) => f32::from_le_bytes(bytes),
            _ => {
                return Err(GptOssError::Shape {
                    path: self.path(tensor),
                    tensor: name.into(),
                    expected: vec![1],
                    found: tensor.shape.clone(),
                });
            }
        };
        let reciprocal = 1.0 / value;
        match value > 0.0 && value.is_normal() && reciprocal.is_normal() {
            true => Ok(reciprocal),
            false => Err(GptOssError::NonFiniteWeight {
                path: self.path(tensor),
                tensor: name.into(),
                row: vec![0],
                value,
            }),
        }
    }
}

fn unlike(name: &str, whose: &str) -> GptOssError {
    GptOssError::Unsupported {
        what: format!("a checkpoint whose {whose} have other scales (`{name}`)"),
        hint: "quantize it again with one scale for each matrix (vLLM asks for the same), or decode it to BF16 with \
               the program that wrote it"
            .into(),
    }
}
