//! Which tensors a target has, and what each is made of.

mod compressed;
mod gguf;

use safetensors::Dtype;

use super::ConvertTarget;
use crate::checkpoint::dialect::original;
use crate::checkpoint::dialect::projection::Rows;
use crate::checkpoint::form::{Part, StoredTensor};
use crate::checkpoint::plan::InHeader;
use crate::checkpoint::{CheckpointForm, CheckpointReader, TensorLayout};
use crate::error::GptOssError;

/// Element types of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) enum Element {
    Safetensors(Dtype),
    /// GGML's blocks of 32 codes and their scale.
    Mxfp4Blocks,
}

/// A tensor of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) struct OutputTensor {
    pub name: String,
    pub element: Element,
    pub shape: Vec<usize>,
    pub content: Content,
}

/// What it is made of. Names are those of the published checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) enum Content {
    /// Tensors, one after the other.
    Dense(Vec<String>),
    /// A part of the matrices of all experts, or some rows of it, or of one expert.
    Experts {
        spec: usize,
        part: Part,
        rows: Rows,
        expert: Option<usize>,
    },
    /// Some biases of all experts or of one.
    Biases {
        tensor: String,
        rows: Rows,
        expert: Option<usize>,
    },
    /// The scale of the inputs of a matrix, or its reciprocal.
    InputScale { tensor: String, reciprocal: bool },
}

impl InHeader for OutputTensor {
    fn name(&self) -> &str {
        &self.name
    }

    fn dtype(&self) -> Dtype {
        match self.element {
            Element::Safetensors(dtype) => dtype,
            Element::Mxfp4Blocks => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn n_bytes(&self) -> u64 {
        let elements: usize = self.shape.iter().product();
        match self.element {
            Element::Safetensors(dtype) => (elements * dtype.bitsize() / 8) as u64,
            Element::Mxfp4Blocks => (elements / 32 * 17) as u64,
        }
    }
}

/// All tensors of a target, in the order in which they are written.
pub(super) fn plan(
    source: &CheckpointReader,
    target: ConvertTarget,
) -> Result<Vec<OutputTensor>, GptOssError> {
    let with_inputs = source.form().inputs().is_some();
    match target {
        ConvertTarget::Mxfp4 | ConvertTarget::Bf16 => published(source, target.form()),
        ConvertTarget::Nvfp4 if with_inputs => published(source, CheckpointForm::Nvfp4W4A4),
        ConvertTarget::Nvfp4 => published(source, CheckpointForm::Nvfp4),
        ConvertTarget::CompressedMxfp4 => compressed::plan(source, false, CheckpointForm::Mxfp4),
        ConvertTarget::CompressedNvfp4 => {
            compressed::plan(source, with_inputs, CheckpointForm::Nvfp4)
        }
        ConvertTarget::Original => renamed(source),
        ConvertTarget::Gguf => gguf::plan(source),
    }
}

/// The tensors of a form under the published names, sorted.
fn published(
    source: &CheckpointReader,
    form: CheckpointForm,
) -> Result<Vec<OutputTensor>, GptOssError> {
    let mut tensors = Vec::new();
    for (index, spec) in source.specs().iter().enumerate() {
        let is_expert = spec.layout == TensorLayout::Experts;
        for stored in form.stored(spec)? {
            tensors.push(of_stored(source, stored, is_expert.then_some(index))?);
        }
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

fn of_stored(
    source: &CheckpointReader,
    stored: StoredTensor,
    spec: Option<usize>,
) -> Result<OutputTensor, GptOssError> {
    let mut shape = stored.shape;
    let content = match (spec, stored.part) {
        (Some(_), Part::InputScale) => Content::InputScale {
            tensor: stored.name.clone(),
            reciprocal: false,
        },
        (Some(spec), part) => {
            // Experts may have a global scale each.
            if part == Part::GlobalScale {
                shape = source.global_shape(&stored.name);
            }
            Content::Experts {
                spec,
                part,
                rows: Rows::All,
                expert: None,
            }
        }
        (None, _) => Content::Dense(vec![stored.name.clone()]),
    };
    Ok(OutputTensor {
        name: stored.name,
        element: Element::Safetensors(stored.dtype),
        shape,
        content,
    })
}

/// MXFP4 under OpenAI's names.
fn renamed(source: &CheckpointReader) -> Result<Vec<OutputTensor>, GptOssError> {
    let published = published(source, CheckpointForm::Mxfp4)?;
    let find = |name: &str| published.iter().find(|tensor| tensor.name == name);
    let mut tensors = Vec::new();
    for original::Original { name, parts } in original::tensors(source.config()) {
        let found: Vec<_> = parts.iter().filter_map(|(ours, _)| find(ours)).collect();
        let Some(first) = found.first() else {
            continue;
        };
        let mut tensor = OutputTensor {
            name,
            ..(*first).clone()
        };
        if found.len() > 1 {
            tensor.shape[0] = found.iter().map(|part| part.shape[0]).sum();
            tensor.content = Content::Dense(parts.into_iter().map(|(ours, _)| ours).collect());
        }
        tensors.push(tensor);
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}
