//! Golden files that remember which of their tensors were looked at.

use std::collections::BTreeSet;
use std::path::PathBuf;

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::bf16;
use safetensors::{Dtype, SafeTensors};

/// A file of golden tensors.
pub struct Golden<'a> {
    tensors: SafeTensors<'a>,
    unvisited: BTreeSet<String>,
}

/// Reads a file of the golden directory.
pub fn read(file: &str) -> Vec<u8> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let directory = std::env::var_os("GOLDEN_DIR").unwrap_or_else(|| default.into());
    let path = PathBuf::from(directory).join("fp4").join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn numbers<T, const N: usize>(bytes: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (numbers, rest) = bytes.as_chunks::<N>();
    assert!(rest.is_empty());
    numbers.iter().map(|&bytes| of(bytes)).collect()
}

impl<'a> Golden<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        let tensors = SafeTensors::deserialize(bytes).unwrap();
        let unvisited = tensors.names().into_iter().map(String::from).collect();
        Self { tensors, unvisited }
    }

    /// Keys that end in `suffix`, without it.
    pub fn cases(&self, suffix: &str) -> Vec<String> {
        let names = self.unvisited.iter();
        let cases = names.filter_map(|name| name.strip_suffix(suffix));
        let cases: Vec<String> = cases.map(String::from).collect();
        assert!(!cases.is_empty(), "no key ends in {suffix}");
        cases
    }

    pub fn bytes(&mut self, key: &str, dtype: Dtype) -> (Vec<usize>, &'a [u8]) {
        self.visit(key);
        let tensor = self.tensors.tensor(key).unwrap();
        assert_eq!(tensor.dtype(), dtype, "dtype of {key}");
        (tensor.shape().to_vec(), tensor.data())
    }

    pub fn u8(&mut self, key: &str) -> &'a [u8] {
        self.bytes(key, Dtype::U8).1
    }

    pub fn f32(&mut self, key: &str) -> (Vec<usize>, Vec<f32>) {
        let (shape, bytes) = self.bytes(key, Dtype::F32);
        (shape, numbers(bytes, f32::from_le_bytes))
    }

    /// Marks keys of a case that nothing is compared with.
    pub fn leave(&mut self, case: &str, keys: &[&str]) {
        for key in keys {
            self.visit(&format!("{case}.{key}"));
        }
    }

    pub fn finish(self) {
        let left = self.unvisited;
        assert!(left.is_empty(), "unknown keys: {left:?}");
    }

    fn visit(&mut self, key: &str) {
        let fresh = self.unvisited.remove(key);
        assert!(fresh, "{key} is missing or visited twice");
    }
}

/// An input.
pub struct Case {
    pub name: String,
    /// `[rows, len]`, blocks along the last axis.
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
    /// The values where the file has them in bf16.
    pub narrow: Option<Vec<bf16>>,
}

impl Case {
    pub fn read(golden: &mut Golden, name: &str) -> Self {
        let (key, name) = (format!("{name}.x"), name.to_string());
        if !name.ends_with(".bf16") {
            let (shape, values) = golden.f32(&key);
            let narrow = None;
            return Self {
                name,
                shape,
                values,
                narrow,
            };
        }
        let (shape, bytes) = golden.bytes(&key, Dtype::BF16);
        let narrow = numbers(bytes, bf16::from_le_bytes);
        Self {
            name,
            shape,
            values: narrow.iter().map(|x| x.to_f32()).collect(),
            narrow: Some(narrow),
        }
    }

    /// The values as a tensor of the dtype of the file.
    pub fn tensor(&self) -> Tensor<2> {
        let (device, shape) = (Device::flex(), self.shape.clone());
        match &self.narrow {
            Some(values) => {
                let data = TensorData::new(values.clone(), shape);
                Tensor::from_data(data, (&device, DType::BF16))
            }
            None => {
                let data = TensorData::new(self.values.clone(), shape);
                Tensor::from_data(data, (&device, DType::F32))
            }
        }
    }
}

pub fn assert_bits(found: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let same = found.to_bits() == wanted.to_bits();
        assert!(same, "{what}: element {i} is {found:e}, not {wanted:e}");
    }
}

/// Equal, or both zero.
pub fn assert_values(found: &[f32], wanted: &[f32], what: &str) {
    let unsigned = |values: &[f32]| -> Vec<f32> {
        let positive = |&x: &f32| if x == 0.0 { 0.0 } else { x };
        values.iter().map(positive).collect()
    };
    assert_bits(&unsigned(found), &unsigned(wanted), what);
}
