//! The tiny model, its inputs and losses.
#![allow(dead_code)] // Every test binary uses a part of it.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Bool, Device, FloatDType, Int, Tensor, TensorData};
use burn_gpt_oss::ops::ordered_sum;
use burn_gpt_oss::{CheckpointReader, GptOss, TensorLayout, TensorSpec, tensor_specs};

use crate::golden::{self, Array, Golden};

/// Labels with this value are not predicted.
pub const IGNORED: i64 = -100;

/// Where to compare: on Flex, or on the device that `BURN_DEVICE` names.
pub fn device() -> Device {
    match std::env::var_os("BURN_DEVICE") {
        Some(_) => Device::default(),
        None => Device::flex(),
    }
}

pub fn open(directory: &str) -> CheckpointReader {
    let path = golden::directory().join(directory);
    CheckpointReader::open(&path).unwrap_or_else(|error| panic!("{directory}: {error}"))
}

pub fn load(directory: &str, device: &Device) -> GptOss {
    open(directory)
        .load(device, FloatDType::F32, |_| {})
        .unwrap_or_else(|error| panic!("{directory}: {error}"))
}

/// A model whose experts are as packed as in the file.
pub fn load_packed(directory: &str, device: &Device) -> GptOss {
    open(directory)
        .load_packed(device, FloatDType::F32, |_| {})
        .unwrap_or_else(|error| panic!("{directory}: {error}"))
}

/// A model whose matrices are as in the file, on Flex the file itself.
pub fn load_stored(directory: &str, device: &Device) -> GptOss {
    open(directory)
        .load_stored(device, FloatDType::F32, |_| {})
        .unwrap_or_else(|error| panic!("{directory}: {error}"))
}

/// One batch of the golden data.
pub struct Batch {
    pub input_ids: Array<i64>,
    pub attention_mask: Array<i64>,
    pub labels: Option<Array<i64>>,
}

impl Batch {
    pub fn read(golden: &Golden, case: &str) -> Self {
        let labels = format!("{case}.labels");
        Self {
            input_ids: golden.i64(&format!("{case}.input_ids")),
            attention_mask: golden.i64(&format!("{case}.attention_mask")),
            labels: golden.has(&labels).then(|| golden.i64(&labels)),
        }
    }

    /// `[batch, len]`
    pub fn ids(&self, device: &Device) -> Tensor<2, Int> {
        int_tensor(&self.input_ids, device)
    }

    /// `[batch, len]`, true = a real token.
    pub fn mask(&self, device: &Device) -> Tensor<2, Bool> {
        int_tensor::<2>(&self.attention_mask, device).equal_scalar(1)
    }

    /// Whether a token, counted in batch-major order, is real.
    pub fn is_real(&self, token: usize) -> bool {
        self.attention_mask.values[token] == 1
    }
}

pub fn int_tensor<const D: usize>(array: &Array<i64>, device: &Device) -> Tensor<D, Int> {
    let values: Vec<i32> = array.values.iter().map(|value| *value as i32).collect();
    Tensor::from_data(TensorData::new(values, array.dims::<D>()), device)
}

/// Negative log likelihood of every next token, 0 where the label is ignored, and the number of
/// those that count.
///
/// # Shapes
/// - logits: `[batch, len, vocab_size]`
/// - labels: `[batch, len]`
/// - output: `[batch, len - 1]`
pub fn token_nll(logits: Tensor<3>, labels: &Array<i64>) -> (Tensor<2>, usize) {
    let device = logits.device();
    let [batch, len, _] = logits.dims();
    let targets = int_tensor::<2>(labels, &device).narrow(1, 1, len - 1);
    let ignored = targets.clone().equal_scalar(IGNORED);
    let n_counted = labels.values.chunks(len).flat_map(|row| &row[1..]);
    let n_counted = n_counted.filter(|label| **label != IGNORED).count();
    // Ignored labels must still be valid indices.
    let targets = targets
        .mask_fill(ignored.clone(), 0)
        .reshape([batch, len - 1, 1]);
    let likelihood = log_softmax(logits.narrow(1, 0, len - 1), 2).gather(2, targets);
    let nll = likelihood
        .reshape([batch, len - 1])
        .neg()
        .mask_fill(ignored, 0.0);
    (nll, n_counted)
}

/// Mean of [`token_nll`] over the labels that count, `[1]`.
pub fn cross_entropy(logits: Tensor<3>, labels: &Array<i64>) -> Tensor<1> {
    let (nll, n_counted) = token_nll(logits, labels);
    ordered_sum(nll) / n_counted as f64
}

pub fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor
        .clone()
        .try_to_vec_as::<f32>()
        .expect("readable tensor")
}

pub fn scalar(tensor: &Tensor<1>) -> f64 {
    assert_eq!(tensor.dims(), [1], "a scalar");
    f64::from(values(tensor)[0])
}

/// In the path of what a weight quantizer keeps, which is no parameter of a checkpoint.
const WEIGHT_QUANTIZER: &str = ".weight_quantizer.";

/// Tensors of a model by name and in the layout of a BF16 checkpoint.
pub type Named = BTreeMap<String, Array<f32>>;

/// All parameters of a model.
pub fn parameters(model: &GptOss) -> Named {
    Walk::run(model, None)
}

/// The gradients of all parameters that have one.
pub fn gradients(model: &GptOss, gradients: &GradientsParams) -> Named {
    Walk::run(model, Some(gradients))
}

struct Walk<'a> {
    specs: Vec<TensorSpec>,
    gradients: Option<&'a GradientsParams>,
    path: Vec<String>,
    found: Named,
}

impl<'a> Walk<'a> {
    fn run(model: &GptOss, gradients: Option<&'a GradientsParams>) -> Named {
        let specs = tensor_specs(model.config());
        let mut walk = Self {
            specs,
            gradients,
            path: Vec::new(),
            found: BTreeMap::new(),
        };
        model.visit(&mut walk);
        walk.found
    }
}

impl ModuleVisitor for Walk<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        if path.contains(WEIGHT_QUANTIZER) {
            return;
        }
        let spec = self.specs.iter().find(|spec| spec.path == path);
        let spec = spec.unwrap_or_else(|| panic!("no checkpoint name for the parameter `{path}`"));
        let tensor = match self.gradients {
            Some(gradients) => gradients.get::<D>(param.id),
            None => Some(param.base()),
        };
        let Some(tensor) = tensor else { return };
        let tensor = match spec.layout {
            TensorLayout::Transposed => tensor.swap_dims(0, 1),
            TensorLayout::Same | TensorLayout::Experts => tensor,
        };
        let array = Array {
            shape: tensor.dims().to_vec(),
            values: values(&tensor),
        };
        self.found.insert(spec.name.clone(), array);
    }
}
