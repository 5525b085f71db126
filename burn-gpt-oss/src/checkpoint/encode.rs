//! From parameters to the bytes of tensors.

mod experts;
mod parameters;

use std::borrow::Cow;
use std::collections::BTreeMap;

use burn::module::{Module, Reparameterization};
use burn::tensor::Bytes;
use burn_fp4::{Fp4Tensor, PackedFp4, WeightQuantizer};
use experts::{adapted_experts, packed_experts, quantizers};
use half::bf16;
use parameters::{Narrow, Parameters, Values, read};

use super::elements::{encode_bf16, first_overflow, transpose};
use super::form::Part;
use super::plan::PlannedTensor;
use super::{CheckpointForm, CheckpointReader, TensorLayout, TensorSpec};
use crate::error::GptOssError;
use crate::experts::ExpertWeight;
use crate::model::GptOss;

/// Turns parameters into the bytes of tensors.
pub(super) struct Encoder<'a> {
    form: CheckpointForm,
    source: Option<&'a CheckpointReader>,
    specs: &'a [TensorSpec],
    values: BTreeMap<String, Values>,
    narrow: BTreeMap<String, Narrow>,
    packed: BTreeMap<String, &'a Fp4Tensor<3>>,
    /// Matrices that are merged with their adapters when they are written.
    adapted: BTreeMap<String, &'a ExpertWeight>,
    /// The quantizers of matrices that have one.
    quantizers: BTreeMap<String, WeightQuantizer>,
    /// The global scales of the inputs of matrices, by the names of their tensors.
    input_scales: BTreeMap<String, f32>,
    /// Scales of the matrix whose codes were written last, those of blocks and the one above them.
    scales: [Vec<u8>; 2],
    /// Names of the matrices that are byte for byte those of the source.
    pub copied: Vec<String>,
}

impl<'a> Encoder<'a> {
    pub fn new(
        model: &'a GptOss,
        specs: &'a [TensorSpec],
        form: CheckpointForm,
        source: Option<&'a CheckpointReader>,
    ) -> Result<Self, GptOssError> {
        let packed = packed_experts(model, form)?;
        let adapted = adapted_experts(model, form)?;
        let quantizers = quantizers(model, form)?;
        let mut parameters = Parameters::default();
        model.visit(&mut parameters);
        for path in packed.keys().chain(adapted.keys()) {
            parameters.values.remove(&format!("{path}.global_scales"));
        }
        for path in quantizers.keys() {
            for held in ["global_amax", "learned_scales"] {
                let held = format!("{path}.{}.{held}", WeightQuantizer::NAME);
                parameters.values.remove(&held);
            }
        }
        let input_scales = match form.inputs() {
            Some(format) => parameters.take_input_scales(model, format)?,
            None => BTreeMap::new(),
        };
        parameters.merge_adapters(model);
        for path in parameters.values.keys() {
            if !specs.iter().any(|spec| spec.path == *path) {
                return Err(GptOssError::Unsupported {
                    what: format!("the parameter `{path}` in a checkpoint"),
                    hint: "merge adapters into the weights and remove activation quantizers first"
                        .into(),
                });
            }
        }
        Ok(Self {
            form,
            source,
            specs,
            values: parameters.values,
            narrow: parameters.narrow,
            packed,
            adapted,
            quantizers,
            input_scales,
            scales: [const { Vec::new() }; 2],
            copied: Vec::new(),
        })
    }

    pub fn encode(&mut self, tensor: &PlannedTensor) -> Result<Bytes, GptOssError> {
        let spec = &self.specs[tensor.spec];
        let bytes = match tensor.stored.part {
            Part::Scales => std::mem::take(&mut self.scales[0]),
            Part::GlobalScale => std::mem::take(&mut self.scales[1]),
            Part::InputScale => {
                let scale = self.input_scales.get(&tensor.stored.name);
                let scale = scale.ok_or_else(|| not_calibrated(&tensor.stored.name))?;
                scale.to_le_bytes().to_vec()
            }
            Part::Dense => {
                if let Some(bytes) = self.narrow(spec)? {
                    return Ok(bytes);
                }
                let values = self.values(spec)?;
                let values = match spec.layout {
                    TensorLayout::Transposed => transpose(&values, spec.shape[0], spec.shape[1]),
                    TensorLayout::Same | TensorLayout::Experts => values,
                };
                encode_bf16(&values)
            }
            Part::Codes => {
                let packed = self.pack(spec)?;
                let [codes, scales @ ..] = self
                    .form
                    .parts(packed)
                    .map_err(GptOssError::fp4(&spec.name))?;
                self.scales = scales;
                codes
            }
        };
        Ok(Bytes::from_bytes_vec(bytes))
    }

    /// The bytes of a matrix that has the element type of the file: as floats the embedding of the 20b takes 2.3 GB.
    fn narrow(&self, spec: &TensorSpec) -> Result<Option<Bytes>, GptOssError> {
        // What is merged with an adapter is not what the parameter holds.
        let merged = self.adapted.contains_key(&spec.path);
        let Some(narrow) = self.narrow.get(&spec.path).filter(|_| !merged) else {
            return Ok(None);
        };
        let Some(bytes) = narrow(spec.layout == TensorLayout::Transposed)? else {
            return Ok(None);
        };
        let elements = bytes.as_chunks::<2>().0.iter();
        let mut elements = elements.map(|bytes| bf16::from_le_bytes(*bytes));
        match elements.position(|x| !x.is_finite()) {
            // With the index that the model has.
            Some(_) => Ok(None),
            None => Ok(Some(bytes)),
        }
    }

    fn values(&self, spec: &TensorSpec) -> Result<Vec<f32>, GptOssError> {
        let missing = || GptOssError::Unsupported {
            what: format!("a model without the parameter `{}`", spec.path),
            hint: "save the whole model".into(),
        };
        let values = match (self.adapted.get(&spec.path), self.packed.get(&spec.path)) {
            (Some(weight), _) => read(weight.val(), &spec.path)?,
            (None, Some(packed)) => decode(packed, spec)?,
            (None, None) => self.values.get(&spec.path).ok_or_else(missing)?()?,
        };
        match first_overflow(&values) {
            Some(index) => {
                let tensor = spec.name.clone();
                Err(GptOssError::NonFinite {
                    tensor,
                    index,
                    value: values[index],
                })
            }
            None => Ok(values),
        }
    }

    fn pack(&mut self, spec: &TensorSpec) -> Result<PackedFp4, GptOssError> {
        let merged = self
            .adapted
            .get(&spec.path)
            .and_then(|weight| weight.codes());
        let source = self
            .source
            .filter(|source| source.form_of(spec).scheme() == self.form.scheme());
        if let Some(packed) = merged.as_ref().or(self.packed.get(&spec.path).copied()) {
            let packed = to_host(packed, spec)?;
            if let Some(source) = source
                && packed.has_bytes_of(&source.packed(spec)?)
            {
                self.copied.push(spec.name.clone());
            }
            return Ok(packed);
        }
        let values = self.values(spec)?;
        let quantizer = self.quantizers.get(&spec.path);
        let pack = |quantizer: &WeightQuantizer| {
            let packed = quantizer.pack(&values, &spec.shape);
            packed.map_err(GptOssError::fp4(&spec.name))
        };
        // The copy itself is compared: the file may change, or be gone, without harm to the model.
        let copy = source.and_then(|source| copy_of(source, spec).ok());
        if let Some(copy) = copy
            && same_bits(&decoded(&copy, spec)?, &values)
        {
            // In NVFP4 a quantizer may round what is rounded already to other values: these were trained with.
            let packed = quantizer.map(pack).transpose()?;
            let is_kept = match &packed {
                Some(packed) => same_bits(&decoded(packed, spec)?, &values),
                None => true,
            };
            match packed.filter(|_| !is_kept) {
                Some(packed) => return Ok(packed),
                None => {
                    self.copied.push(spec.name.clone());
                    return Ok(copy);
                }
            }
        }
        match (quantizer, self.form.scheme()) {
            (Some(quantizer), _) => pack(quantizer),
            (None, Some(scheme)) => pack(&WeightQuantizer::new(scheme)),
            (None, None) => Err(GptOssError::Unsupported {
                what: format!("packing `{}` for a {} checkpoint", spec.path, self.form),
                hint: "choose a packed form".into(),
            }),
        }
    }
}

fn copy_of(source: &CheckpointReader, spec: &TensorSpec) -> Result<PackedFp4, GptOssError> {
    let copy = source.packed(spec)?.map(Cow::into_owned);
    source.release_parameter(spec)?;
    Ok(copy)
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

fn to_host(packed: &Fp4Tensor<3>, spec: &TensorSpec) -> Result<PackedFp4, GptOssError> {
    packed.to_packed().map_err(GptOssError::fp4(&spec.name))
}

/// The values of a packed matrix in the layout of the dense one.
fn decode(packed: &Fp4Tensor<3>, spec: &TensorSpec) -> Result<Vec<f32>, GptOssError> {
    decoded(&to_host(packed, spec)?, spec)
}

fn decoded(packed: &PackedFp4, spec: &TensorSpec) -> Result<Vec<f32>, GptOssError> {
    let mut values = vec![0.0; spec.len()];
    let decoded = packed.dequantize_along(1, &mut values);
    decoded.map_err(GptOssError::fp4(&spec.name))?;
    Ok(values)
}

fn not_calibrated(tensor: &str) -> GptOssError {
    GptOssError::Unsupported {
        what: format!("a checkpoint with `{tensor}`, since this input was not calibrated,"),
        hint: "calibrate the inputs, or save the weights alone".into(),
    }
}
