//! Sizes, visibility and values of one use of the operation.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use burn_gpt_oss::ops::{Visibility, sink_attention};

use crate::model::values;

/// One use of the operation; values follow from the sizes.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: &'static str,
    pub batch: usize,
    pub len: usize,
    pub keys: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub dim: usize,
    pub window: Option<usize>,
    pub first_query: usize,
    /// `[batch][keys]`
    pub real: Option<Vec<Vec<bool>>>,
    /// `[batch][keys]`
    pub documents: Option<Vec<Vec<i32>>>,
    /// Spread of the values.
    pub spread: f32,
}

/// What is multiplied, and the gradient that comes back.
#[derive(Clone, Debug)]
pub struct Tensors {
    pub query: Tensor<4>,
    pub key: Tensor<4>,
    pub value: Tensor<4>,
    pub sinks: Tensor<1>,
    pub grad: Tensor<4>,
}

/// Output and gradients, in the order query, key, value, sinks.
pub struct Results {
    pub output: Vec<f32>,
    pub gradients: [Vec<f32>; 4],
}

pub const NAMES: [&str; 4] = ["query", "key", "value", "sinks"];

impl Case {
    pub const fn new(name: &'static str, batch: usize, len: usize, window: Option<usize>) -> Self {
        Self {
            name,
            batch,
            len,
            keys: len,
            heads: 4,
            kv_heads: 2,
            dim: 8,
            window,
            first_query: 0,
            real: None,
            documents: None,
            spread: 1.0,
        }
    }

    pub fn heads(self, heads: usize, kv_heads: usize) -> Self {
        Self {
            heads,
            kv_heads,
            ..self
        }
    }

    pub fn dim(self, dim: usize) -> Self {
        Self { dim, ..self }
    }

    /// The queries start at position `first_query` of `keys`.
    pub fn cached(self, first_query: usize, keys: usize) -> Self {
        Self {
            first_query,
            keys,
            ..self
        }
    }

    /// Padding of so many keys at the start and at the end of each sequence.
    pub fn padded(self, sides: &[[usize; 2]]) -> Self {
        let keys = self.keys;
        let row = |[left, right]: &[usize; 2]| {
            let real = (0..keys).map(|i| i >= *left && i + right < keys);
            real.collect()
        };
        Self {
            real: Some(sides.iter().map(row).collect()),
            ..self
        }
    }

    /// Documents of these lengths in each sequence.
    pub fn packed(self, lengths: &[&[usize]]) -> Self {
        let number = |(i, len): (usize, &usize)| std::iter::repeat_n(i as i32, *len);
        let row = |lengths: &&[usize]| lengths.iter().enumerate().flat_map(number).collect();
        Self {
            documents: Some(lengths.iter().map(row).collect()),
            ..self
        }
    }

    pub fn scale(&self) -> f64 {
        (self.dim as f64).powf(-0.5)
    }

    /// Whether a query sees a key, by the definition.
    pub fn sees(&self, batch: usize, query: usize, key: usize) -> bool {
        let at = self.first_query + query;
        let near = self.window.is_none_or(|window| key + window > at);
        let real = self.real.as_ref().is_none_or(|real| real[batch][key]);
        let own = self
            .documents
            .as_ref()
            .is_none_or(|documents| documents[batch][key] == documents[batch][at]);
        key <= at && near && real && own
    }

    /// `[batch, keys]`
    pub fn real(&self, device: &Device) -> Option<Tensor<2, Bool>> {
        let real = self.real.as_ref()?.concat();
        let data = TensorData::new(real, [self.batch, self.keys]);
        Some(Tensor::from_data(data, device))
    }

    /// `[batch, keys]`
    pub fn documents(&self, device: &Device) -> Option<Tensor<2, Int>> {
        let documents = self.documents.as_ref()?.concat();
        let data = TensorData::new(documents, [self.batch, self.keys]);
        Some(Tensor::from_data(data, device))
    }

    pub fn visibility(&self, device: &Device) -> Visibility {
        Visibility::new(self.real(device), self.documents(device))
            .with_window(self.window)
            .with_first_query(self.first_query)
    }

    pub fn tensors(&self, device: &Device) -> Tensors {
        let queries = [self.batch, self.len, self.heads, self.dim];
        let keys = [self.batch, self.keys, self.kv_heads, self.dim];
        let spread = self.spread;
        Tensors {
            query: sample(1, queries, device) * spread,
            key: sample(2, keys, device) * spread,
            value: sample(3, keys, device),
            sinks: sample(4, [self.heads], device),
            grad: sample(5, queries, device),
        }
    }

    /// The operation itself.
    pub fn run(&self, tensors: &Tensors) -> Results {
        let visibility = self.visibility(&tensors.query.device());
        let attend = |query, key, value, sinks| {
            sink_attention(query, key, value, sinks, &visibility, self.scale())
        };
        tensors.results(attend)
    }
}

impl Tensors {
    /// Output and gradients of any implementation.
    pub fn results(
        &self,
        attend: impl Fn(Tensor<4>, Tensor<4>, Tensor<4>, Tensor<1>) -> Tensor<4>,
    ) -> Results {
        let query = self.query.clone().detach().require_grad();
        let key = self.key.clone().detach().require_grad();
        let value = self.value.clone().detach().require_grad();
        let sinks = self.sinks.clone().detach().require_grad();
        let output = attend(query.clone(), key.clone(), value.clone(), sinks.clone());
        let grads = (output.clone() * self.grad.clone()).sum().backward();
        Results {
            output: values(&output),
            gradients: [
                values(&query.grad(&grads).expect("gradient of the query")),
                values(&key.grad(&grads).expect("gradient of the key")),
                values(&value.grad(&grads).expect("gradient of the value")),
                values(&sinks.grad(&grads).expect("gradient of the sinks")),
            ],
        }
    }
}

/// Numbers between -2 and 2 that look random.
pub fn sample<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n_elements = shape.iter().product::<usize>();
    let numbers = (0..n_elements).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f32 / (1u32 << 22) as f32 - 2.0
    });
    Tensor::from_data(TensorData::new(numbers.collect::<Vec<_>>(), shape), device)
}

/// Asserts that values agree to `limit` times the largest that is expected.
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], limit: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: number of elements");
    let largest = expected
        .iter()
        .fold(0.0, |a, b| f64::max(a, b.abs().into()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let deviation = (f64::from(*found) - f64::from(*expected)).abs();
        assert!(
            deviation <= limit * largest,
            "{what}, {i}: {found} {expected} ({deviation:e}, largest {largest})"
        );
    }
}
