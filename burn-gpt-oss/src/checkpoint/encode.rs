//! From parameters to the bytes of tensors.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param, Reparameterization};
use burn::tensor::{Bytes, DType, Tensor};
use burn_fp4::{Fp4Scheme, Fp4Tensor, LowRankAdapter, PackedFp4, WeightQuantizer};
use half::bf16;

use super::convert::{encode_bf16, first_overflow, transpose};
use super::form::Part;
use super::plan::PlannedTensor;
use super::{CheckpointForm, CheckpointReader, TensorLayout, TensorSpec};
use crate::error::GptOssError;
use crate::experts::ExpertWeight;
use crate::model::GptOss;

type Values = Box<dyn Fn() -> Result<Vec<f32>, GptOssError>>;
/// The bytes of a matrix that is in bfloat16, turned if asked; none of others.
type Narrow = Box<dyn Fn(bool) -> Result<Option<Bytes>, GptOssError>>;

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
    /// Schemes of the matrices that have a quantizer.
    schemes: BTreeMap<String, Fp4Scheme>,
    /// Scales of the matrix whose blocks were written last.
    scales: Vec<u8>,
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
        let schemes = quantizer_schemes(model, form)?;
        let mut parameters = Parameters::default();
        model.visit(&mut parameters);
        for path in packed.keys().chain(adapted.keys()) {
            parameters.values.remove(&format!("{path}.global_scales"));
        }
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
            schemes,
            scales: Vec::new(),
            copied: Vec::new(),
        })
    }

    pub fn encode(&mut self, tensor: &PlannedTensor) -> Result<Bytes, GptOssError> {
        let spec = &self.specs[tensor.spec];
        let bytes = match tensor.stored.part {
            Part::Scales => std::mem::take(&mut self.scales),
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
            Part::Blocks => {
                let (blocks, scales) = self.pack(spec)?;
                self.scales = scales;
                blocks
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

    fn pack(&mut self, spec: &TensorSpec) -> Result<(Vec<u8>, Vec<u8>), GptOssError> {
        let merged = self
            .adapted
            .get(&spec.path)
            .and_then(|weight| weight.codes());
        if let Some(packed) = merged.as_ref().or(self.packed.get(&spec.path).copied()) {
            let packed = to_host(packed, spec)?;
            if let Some(source) = self.source.filter(|source| source.is_packed(spec)) {
                let original = source.packed(spec)?;
                if (original.codes(), original.scales()) == (packed.codes(), packed.scales()) {
                    self.copied.push(spec.name.clone());
                }
            }
            return Ok(packed.into_parts());
        }
        let values = self.values(spec)?;
        if let Some(source) = self.source.filter(|source| source.is_packed(spec)) {
            let original = source.values(spec)?;
            if original
                .iter()
                .zip(&values)
                .all(|(a, b)| a.to_bits() == b.to_bits())
            {
                let packed = source.packed(spec)?;
                self.copied.push(spec.name.clone());
                return Ok((packed.codes().to_vec(), packed.scales().to_vec()));
            }
        }
        let trained = self.schemes.get(&spec.path).copied();
        let scheme = trained.or(self.form.scheme());
        let scheme = scheme.ok_or_else(|| GptOssError::Unsupported {
            what: format!("packing `{}` for a {} checkpoint", spec.path, self.form),
            hint: "choose a packed form".into(),
        })?;
        let packed = PackedFp4::quantize(&values, &spec.shape, 1, scheme);
        Ok(packed.map_err(GptOssError::fp4(&spec.name))?.into_parts())
    }
}

/// The matrices with adapters, if the form has a place for what they were rounded to.
fn adapted_experts(
    model: &GptOss,
    form: CheckpointForm,
) -> Result<BTreeMap<String, &ExpertWeight>, GptOssError> {
    let mut found = BTreeMap::new();
    for (path, weight) in model.expert_weights() {
        if let Some(adapter) = weight.adapter() {
            if let Some(scheme) = adapter.scheme() {
                check_scheme(&path, scheme, form)?;
            }
            found.insert(path, weight);
        }
    }
    Ok(found)
}

/// The packed experts by path, if the form has a place for them.
fn packed_experts(
    model: &GptOss,
    form: CheckpointForm,
) -> Result<BTreeMap<String, &Fp4Tensor<3>>, GptOssError> {
    let mut found = BTreeMap::new();
    for (path, weight) in model.expert_weights() {
        if let Some(packed) = weight.packed().filter(|_| weight.adapter().is_none()) {
            check_scheme(&path, packed.scheme(), form)?;
            found.insert(path, packed);
        }
    }
    Ok(found)
}

/// What the matrices were trained to be rounded to: that is what they are packed with.
fn quantizer_schemes(
    model: &GptOss,
    form: CheckpointForm,
) -> Result<BTreeMap<String, Fp4Scheme>, GptOssError> {
    let mut found = BTreeMap::new();
    for (path, weight) in model.expert_weights() {
        let param = weight.dense();
        let quantizer = param.and_then(|param| param.reparameterization::<WeightQuantizer>());
        if let Some(quantizer) = quantizer {
            check_scheme(&path, quantizer.scheme(), form)?;
            found.insert(path, quantizer.scheme());
        }
    }
    Ok(found)
}

/// Fails if a matrix in this scheme has no place in the form.
fn check_scheme(path: &str, scheme: Fp4Scheme, form: CheckpointForm) -> Result<(), GptOssError> {
    if form.holds(scheme) {
        return Ok(());
    }
    Err(GptOssError::Unsupported {
        what: format!("`{path}` in {scheme} in a {form} checkpoint"),
        hint: "save it as BF16, or quantize it in MXFP4; the tensors of an NVFP4 checkpoint are those \
               of `burn_fp4::layout::modelopt`"
            .into(),
    })
}

fn to_host(packed: &Fp4Tensor<3>, spec: &TensorSpec) -> Result<PackedFp4, GptOssError> {
    packed.to_packed().map_err(GptOssError::fp4(&spec.name))
}

/// The values of a packed matrix in the layout of the dense one.
fn decode(packed: &Fp4Tensor<3>, spec: &TensorSpec) -> Result<Vec<f32>, GptOssError> {
    let mut values = vec![0.0; spec.len()];
    let decoded = to_host(packed, spec)?.dequantize_along(1, &mut values);
    decoded.map_err(GptOssError::fp4(&spec.name))?;
    Ok(values)
}

/// Readers of all parameters by path. Reading one copies it to the host, one at a time.
#[derive(Default)]
struct Parameters {
    path: Vec<String>,
    values: BTreeMap<String, Values>,
    narrow: BTreeMap<String, Narrow>,
}

impl ModuleVisitor for Parameters {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (tensor, path) = (param.base(), self.path.join("."));
        self.add(path, move || tensor.clone());
    }
}

impl Parameters {
    fn add<const D: usize>(&mut self, path: String, tensor: impl Fn() -> Tensor<D> + 'static) {
        let name = path.clone();
        let tensor = std::rc::Rc::new(tensor);
        let again = tensor.clone();
        let values = move || read(tensor(), &name);
        self.values.insert(path.clone(), Box::new(values));
        let name = path.clone();
        let narrow = move |turned: bool| {
            let tensor = again();
            // Words of other machines are not those of the file.
            if tensor.dtype() != DType::BF16 || cfg!(target_endian = "big") {
                return Ok(None);
            }
            let tensor = match turned {
                true => tensor.swap_dims(0, 1),
                false => tensor,
            };
            let data = tensor
                .try_into_data()
                .map_err(|error| unread(&name, &error))?;
            Ok(Some(data.into_bytes()))
        };
        self.narrow.insert(path, Box::new(narrow));
    }

    fn forget_factors(&mut self, path: &str) {
        let of_adapter = format!("{path}.{}.", LowRankAdapter::<3>::NAME);
        self.values.retain(|path, _| !path.starts_with(&of_adapter));
    }

    /// Sums of matrices and their adapters in the place of both.
    fn merge_adapters(&mut self, model: &GptOss) {
        for (path, weight) in model.expert_weights() {
            if weight.adapter().is_some() {
                self.forget_factors(&path);
            }
        }
        for (path, weight) in model.matrices() {
            if let Some(adapter) = weight.reparameterization::<LowRankAdapter<2>>() {
                self.forget_factors(&path);
                let (adapter, base) = (adapter.clone(), weight.base());
                self.add(path.clone(), move || adapter.adapted(base.clone()).val());
                // The sum is in float32, and would be computed twice.
                self.narrow.remove(&path);
            }
        }
    }
}

fn read<const D: usize>(tensor: Tensor<D>, path: &str) -> Result<Vec<f32>, GptOssError> {
    let values = tensor.try_to_vec_as::<f32>();
    values.map_err(|error| unread(path, &error))
}

fn unread(path: &str, error: &dyn std::fmt::Display) -> GptOssError {
    GptOssError::Unsupported {
        what: format!("reading the parameter `{path}` from its device ({error})"),
        hint: "check the device's error log".into(),
    }
}
