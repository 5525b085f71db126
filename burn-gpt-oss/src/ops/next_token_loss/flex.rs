//! For Flex: chunks of rows, whose logits are multiplied, turned into gradients in place, and
//! multiplied again.

mod softmax;
mod weight;

use std::borrow::Cow;
use std::ops::Range;

use burn::backend::TensorMetadata;
use burn_flex::FlexTensor;

use burn_fp4::backend::flex::{
    FloatElement, Matrix, MatrixMut, elements, indices, product, tensor, with_float,
};
use weight::Weight;

/// Bytes of logits per chunk.
const CHUNK_BYTES: usize = 16 << 20;

/// Rows per chunk even if their logits take more: each chunk reads the weight and updates its gradient.
const CHUNK_ROWS: usize = 128;

type Loss = (FlexTensor, Option<FlexTensor>, Option<FlexTensor>);

pub(super) fn loss(
    hidden: &FlexTensor,
    weight: &FlexTensor,
    targets: FlexTensor,
    row_weights: &FlexTensor,
    wanted: [bool; 2],
) -> Loss {
    let targets = indices(targets);
    let rows = Rows {
        targets: &targets,
        weights: &elements::<f32>(row_weights),
    };
    with_float!(hidden.dtype(), T => {
        with_float!(weight.dtype(), W => chunked::<T, W>(hidden, weight, rows, wanted))
    })
}

/// What is known of each row beside its hidden state.
#[derive(Clone, Copy)]
struct Rows<'a> {
    targets: &'a [usize],
    weights: &'a [f32],
}

impl Rows<'_> {
    fn slice(&self, range: &Range<usize>) -> Rows<'_> {
        Rows {
            targets: &self.targets[range.clone()],
            weights: &self.weights[range.clone()],
        }
    }
}

fn chunked<T: FloatElement, W: FloatElement>(
    hidden: &FlexTensor,
    weight: &FlexTensor,
    rows: Rows<'_>,
    wanted: [bool; 2],
) -> Loss {
    let ([n_rows, width], [_, vocabulary]) = (hidden.shape().dims(), weight.shape().dims());
    assert!(
        rows.targets.iter().all(|target| *target < vocabulary),
        "a target is not in the vocabulary of {vocabulary}"
    );
    let hidden: Cow<'_, [T]> = elements(hidden);
    let weight = Weight::<W>::new(weight);
    let mut gradients = Gradients {
        hidden: wanted[0].then(|| vec![0.0; n_rows * width]),
        weight: wanted[1].then(|| vec![0.0; width * vocabulary]),
    };
    let n_chunk = chunk_rows(n_rows, vocabulary);
    let (mut logits, mut space) = (vec![0.0; n_chunk * vocabulary], Vec::new());
    let mut loss = 0.0;
    for start in (0..n_rows).step_by(n_chunk) {
        let range = start..n_rows.min(start + n_chunk);
        let values = T::widen(&hidden[range.start * width..range.end * width], &mut space);
        let x = Matrix::new(values, [range.len(), width]);
        let logits = &mut logits[..range.len() * vocabulary];
        weight.multiply(x, MatrixMut::new(logits, [range.len(), vocabulary]));
        loss += softmax::loss(logits, rows.slice(&range), wanted.contains(&true));
        gradients.add(x, &range, logits, &weight);
    }
    (
        tensor(vec![loss as f32], [1]),
        gradients.hidden.map(|g| tensor(g, [n_rows, width])),
        gradients.weight.map(|g| tensor(g, [width, vocabulary])),
    )
}

/// Rows per chunk, so that all chunks are about equal.
fn chunk_rows(n_rows: usize, vocabulary: usize) -> usize {
    let most = (CHUNK_BYTES / (4 * vocabulary).max(1)).max(CHUNK_ROWS);
    let n_chunks = n_rows.div_ceil(most).max(1);
    n_rows.div_ceil(n_chunks).max(1)
}

struct Gradients {
    hidden: Option<Vec<f32>>,
    weight: Option<Vec<f32>>,
}

impl Gradients {
    /// Adds those of the rows `range` with the gradient of their logits.
    fn add<W: FloatElement>(
        &mut self,
        x: Matrix<'_>,
        range: &Range<usize>,
        logits: &[f32],
        weight: &Weight<'_, W>,
    ) {
        let [width, vocabulary] = weight.shape();
        let logits = Matrix::new(logits, [range.len(), vocabulary]);
        if let Some(hidden) = &mut self.hidden {
            let rows = &mut hidden[range.start * width..range.end * width];
            weight.multiply_transposed(logits, MatrixMut::new(rows, [range.len(), width]));
        }
        if let Some(gradient) = &mut self.weight {
            let out = MatrixMut::new(gradient, [width, vocabulary]);
            product(out, x.transposed(), logits, range.start > 0);
        }
    }
}
