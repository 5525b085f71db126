use burn::tensor::{Device, Int, Tensor, TensorData};

use super::TokenizedExample;

/// Sequences computed together, padded on the right.
#[derive(Clone, Debug)]
pub struct MicroBatch {
    /// Token ids, `[batch, len]`. At each position the model predicts the next token.
    pub input_ids: Tensor<2, Int>,
    /// Positions whose next token is a target, as indices into the flattened `[batch * len]`: `[targets]`.
    pub target_rows: Tensor<1, Int>,
    /// Ids of the target tokens, `[targets]`, in the order of `target_rows`.
    pub targets: Tensor<1, Int>,
    /// A number for the conversation of each token, `[batch, len]`, where rows hold several.
    pub documents: Option<Tensor<2, Int>>,
    /// Tokens without padding.
    pub n_tokens: usize,
}

impl MicroBatch {
    /// Pads and moves examples to a device. Padding needs no mask: it follows the real tokens,
    /// which never look ahead, and no padding is a target.
    ///
    /// # Panics
    /// If there is no example or no target.
    pub fn new(examples: &[&TokenizedExample], device: &Device) -> Self {
        let len = examples
            .iter()
            .map(|example| example.tokens.len() - 1)
            .max()
            .unwrap_or(0);
        let mut ids = vec![0i32; examples.len() * len];
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for (i, example) in examples.iter().enumerate() {
            for (position, next) in example.tokens.iter().enumerate().skip(1) {
                let row = i * len + position - 1;
                ids[row] = example.tokens[position - 1] as i32;
                if example.loss_mask[position] {
                    rows.push(row as i32);
                    targets.push(*next as i32);
                }
            }
        }
        assert!(!targets.is_empty(), "a batch needs at least one target");
        let list = |values: Vec<i32>| {
            let shape = [values.len()];
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        Self {
            n_tokens: examples
                .iter()
                .map(|example| example.tokens.len() - 1)
                .sum(),
            documents: documents(examples, len).map(|numbers| {
                Tensor::from_data(TensorData::new(numbers, [examples.len(), len]), device)
            }),
            input_ids: Tensor::from_data(TensorData::new(ids, [examples.len(), len]), device),
            target_rows: list(rows),
            targets: list(targets),
        }
    }

    /// The same on the device without autodiff.
    pub fn without_autodiff(&self) -> Self {
        Self {
            input_ids: self.input_ids.clone().without_autodiff(),
            documents: self.documents.clone().map(Tensor::without_autodiff),
            target_rows: self.target_rows.clone().without_autodiff(),
            targets: self.targets.clone().without_autodiff(),
            n_tokens: self.n_tokens,
        }
    }

    /// Number of targets.
    pub fn n_targets(&self) -> usize {
        self.targets.dims()[0]
    }
}

/// The number of the document of each token, if a row holds several; padding goes on with the last.
fn documents(examples: &[&TokenizedExample], len: usize) -> Option<Vec<i32>> {
    if examples.iter().all(|example| example.starts.is_empty()) {
        return None;
    }
    let mut numbers = Vec::with_capacity(examples.len() * len);
    for example in examples {
        let before = |position| {
            example
                .starts
                .iter()
                .filter(|start| **start <= position)
                .count()
        };
        numbers.extend((0..len).map(|position| before(position) as i32));
    }
    Some(numbers)
}
