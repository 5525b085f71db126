//! One tensor per expert, as compressed-tensors has linear layers.

use burn_fp4::layout::compressed_tensors as names;
use safetensors::Dtype;

use super::{Content, Element, OutputTensor, published};
use crate::checkpoint::dialect::projection::{Matrix, Rows};
use crate::checkpoint::form::{Part, input_scale};
use crate::checkpoint::{CheckpointForm, CheckpointReader, TensorLayout, TensorSpec};
use crate::error::GptOssError;

/// The layers that a matrix becomes, with their rows.
const GATE_UP: [(&str, Rows); 2] = [("gate_proj", Rows::Gate), ("up_proj", Rows::Up)];
const DOWN: [(&str, Rows); 1] = [("down_proj", Rows::All)];

/// All tensors, sorted; `inputs` asks for the scales of W4A4.
pub(super) fn plan(
    source: &CheckpointReader,
    inputs: bool,
    form: CheckpointForm,
) -> Result<Vec<OutputTensor>, GptOssError> {
    let is_bias = |name: &str| name.ends_with("_proj_bias");
    let dense = published(source, CheckpointForm::Mxfp4)?.into_iter();
    let dense = dense.filter(|tensor| matches!(tensor.content, Content::Dense(_)));
    let mut tensors: Vec<_> = dense.filter(|tensor| !is_bias(&tensor.name)).collect();
    for (index, spec) in source.specs().iter().enumerate() {
        if spec.layout != TensorLayout::Experts {
            continue;
        }
        // Its inputs must be whole blocks.
        form.stored(spec)?;
        for expert in 0..spec.shape[0] {
            tensors.extend(of_expert(spec, index, expert, (inputs, form)));
        }
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

fn of_expert(
    spec: &TensorSpec,
    index: usize,
    expert: usize,
    (inputs, form): (bool, CheckpointForm),
) -> Vec<OutputTensor> {
    let (prefix, matrix) = match spec.name.strip_suffix("gate_up_proj") {
        Some(prefix) => (prefix, Matrix::GateUp),
        None => (spec.name.trim_end_matches("down_proj"), Matrix::Down),
    };
    let layers: &[(&str, Rows)] = match matrix {
        Matrix::GateUp => &GATE_UP,
        Matrix::Down => &DOWN,
    };
    let (d_input, d_output) = (spec.shape[1], spec.shape[2] / layers.len());
    let nvfp4 = form != CheckpointForm::Mxfp4;
    let (block, scales) = match nvfp4 {
        true => (16, Dtype::F8_E4M3),
        false => (32, Dtype::U8),
    };
    let mut tensors = Vec::new();
    for &(layer, rows) in layers {
        let mut add = |name: &str, dtype, shape: &[usize], content| {
            tensors.push(OutputTensor {
                name: format!("{prefix}{expert}.{layer}.{name}"),
                element: Element::Safetensors(dtype),
                shape: shape.to_vec(),
                content,
            });
        };
        let part = |part| Content::Experts {
            spec: index,
            part,
            rows,
            expert: Some(expert),
        };
        let codes = [d_output, d_input / 2];
        add(names::WEIGHT_PACKED, Dtype::U8, &codes, part(Part::Codes));
        let blocks = [d_output, d_input / block];
        add(names::WEIGHT_SCALE, scales, &blocks, part(Part::Scales));
        if nvfp4 {
            let global = part(Part::GlobalScale);
            add(names::WEIGHT_GLOBAL_SCALE, Dtype::F32, &[1], global);
        }
        if inputs {
            let scale = Content::InputScale {
                tensor: input_scale(spec).name,
                reciprocal: true,
            };
            add(names::INPUT_GLOBAL_SCALE, Dtype::F32, &[1], scale);
        }
        let biases = Content::Biases {
            tensor: format!("{}_bias", spec.name),
            rows,
            expert: Some(expert),
        };
        add("bias", Dtype::BF16, &[d_output], biases);
    }
    tensors
}
