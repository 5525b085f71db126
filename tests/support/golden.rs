//! Golden files, and which of their tensors a test has visited.
//!
//! Everything in a file is compared or listed by name as belonging to another test: a tensor that is
//! neither, and a list entry without a tensor, fail in [`Golden::finish`].
#![allow(dead_code)] // Every test binary uses a part of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use half::bf16;
use safetensors::{Dtype, SafeTensors};

/// `GOLDEN_DIR`, or `golden` beside the tests.
pub fn directory() -> PathBuf {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"));
    std::env::var_os("GOLDEN_DIR").map_or_else(default, PathBuf::from)
}

/// A tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    pub shape: Vec<usize>,
    pub values: Vec<T>,
}

impl<T: Copy> Array<T> {
    /// The only value.
    pub fn scalar(&self) -> T {
        assert_eq!(
            self.values.len(),
            1,
            "shape {:?} is not a scalar",
            self.shape
        );
        self.values[0]
    }

    /// The shape of a tensor with `D` axes.
    pub fn dims<const D: usize>(&self) -> [usize; D] {
        let shape = &self.shape;
        shape
            .as_slice()
            .try_into()
            .unwrap_or_else(|_| panic!("{shape:?} does not have {D} axes"))
    }
}

struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// One safetensors file of the golden data.
pub struct Golden {
    file: String,
    tensors: BTreeMap<String, Stored>,
    visited: RefCell<BTreeSet<String>>,
}

impl Golden {
    /// Reads a file, named relative to the golden directory.
    pub fn open(file: &str) -> Self {
        let path = directory().join(file);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| {
            panic!(
                "golden file {}: {error}; set GOLDEN_DIR to the golden data",
                path.display()
            )
        });
        let parsed = SafeTensors::deserialize(&bytes)
            .unwrap_or_else(|error| panic!("golden file {}: {error}", path.display()));
        let stored = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
            let (dtype, shape) = (view.dtype(), view.shape().to_vec());
            (
                name.to_string(),
                Stored {
                    dtype,
                    shape,
                    bytes: view.data().to_vec(),
                },
            )
        };
        let tensors = parsed.iter().map(stored).collect();
        Self {
            file: file.into(),
            tensors,
            visited: RefCell::default(),
        }
    }

    /// All keys that begin with `prefix`, sorted; this does not visit them.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        self.tensors
            .keys()
            .filter(|key| key.starts_with(prefix))
            .cloned()
            .collect()
    }

    pub fn has(&self, key: &str) -> bool {
        self.tensors.contains_key(key)
    }

    /// A tensor of F32 or BF16.
    pub fn f32(&self, key: &str) -> Array<f32> {
        let stored = self.visit(key);
        match stored.dtype {
            Dtype::F32 => stored.decode(f32::from_le_bytes),
            Dtype::BF16 => stored.decode(|bytes| bf16::from_le_bytes(bytes).to_f32()),
            other => panic!("{}: `{key}` is {other:?}, not F32 or BF16", self.file),
        }
    }

    /// A tensor of F64.
    pub fn f64(&self, key: &str) -> Array<f64> {
        let stored = self.visit(key);
        assert_eq!(stored.dtype, Dtype::F64, "{}: dtype of `{key}`", self.file);
        stored.decode(f64::from_le_bytes)
    }

    /// A tensor of I64.
    pub fn i64(&self, key: &str) -> Array<i64> {
        let stored = self.visit(key);
        assert_eq!(stored.dtype, Dtype::I64, "{}: dtype of `{key}`", self.file);
        stored.decode(i64::from_le_bytes)
    }

    fn visit(&self, key: &str) -> &Stored {
        self.visited.borrow_mut().insert(key.into());
        self.tensors
            .get(key)
            .unwrap_or_else(|| panic!("{}: no tensor `{key}`", self.file))
    }

    /// Fails on tensors that were neither visited nor listed in `elsewhere`, and on entries of that
    /// list without a tensor or with a visited one. An entry that ends in `*` is a prefix.
    pub fn finish(self, elsewhere: &[&str]) {
        let visited = self.visited.borrow();
        let left: Vec<_> = self
            .tensors
            .keys()
            .filter(|key| !visited.contains(*key))
            .collect();
        for entry in elsewhere {
            assert!(
                left.iter().any(|key| matches(entry, key)),
                "{}: `{entry}` is listed as not visited, but no such tensor is left",
                self.file
            );
        }
        let forgotten: Vec<_> = left
            .iter()
            .filter(|key| !elsewhere.iter().any(|entry| matches(entry, key)))
            .collect();
        assert!(
            forgotten.is_empty(),
            "{}: visited by no test: {forgotten:?}",
            self.file
        );
    }
}

impl Stored {
    fn decode<const N: usize, T>(&self, decode: impl Fn([u8; N]) -> T) -> Array<T> {
        let (elements, rest) = self.bytes.as_chunks::<N>();
        assert!(rest.is_empty(), "odd number of bytes");
        Array {
            shape: self.shape.clone(),
            values: elements.iter().map(|bytes| decode(*bytes)).collect(),
        }
    }
}

fn matches(entry: &str, key: &str) -> bool {
    match entry.strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix),
        None => key == entry,
    }
}

/// Names in a folder of the golden directory, sorted.
pub fn entries(folder: &str) -> Vec<String> {
    let path = directory().join(folder);
    let entries = std::fs::read_dir(&path).unwrap_or_else(|error| {
        panic!(
            "golden folder {}: {error}; set GOLDEN_DIR to the golden data",
            path.display()
        )
    });
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("readable folder")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}
