//! The order of products and softmaxes.

use std::ops::Range;

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Shape, Slice};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::rows::Rows;
use burn_fp4::backend::cube::{empty, product, zeros};

/// Rows of a chunk are a multiple of this, for the tiles of a product.
const ROW_STEP: usize = 64;

/// Loss, and gradients by hidden states and weight.
type Loss = (CubeTensor, CubeTensor, CubeTensor);

pub(super) fn loss(
    hidden: CubeTensor,
    weight: CubeTensor,
    targets: CubeTensor,
    row_weights: CubeTensor,
    wanted: [bool; 2],
) -> Loss {
    // A frozen head may be narrower.
    let weight = match hidden.dtype == weight.dtype {
        true => weight,
        false => CubeBackend::float_cast(weight, hidden.dtype.into()),
    };
    let one = zeros(&hidden, Shape::new([1]), DType::F32);
    if hidden.meta.num_elements() == 0 {
        let gradient = |of: &CubeTensor, wanted: bool| match wanted {
            true => zeros(of, of.shape(), DType::F32),
            false => one.clone(),
        };
        let gradients = (gradient(&hidden, wanted[0]), gradient(&weight, wanted[1]));
        return (one, gradients.0, gradients.1);
    }
    let head = Head::new(hidden, weight, wanted);
    let rows = Rows::new(targets, row_weights);
    let (mut by_hidden, mut by_weight) = (Vec::new(), None);
    for group in head.groups() {
        let Some(gradient) = head.logits_gradient(&group, &rows) else {
            continue;
        };
        if wanted[0] {
            let weight = CubeBackend::float_swap_dims(head.weight.clone(), 0, 1);
            by_hidden.push(product(gradient.clone(), weight, DType::F32));
        }
        if wanted[1] {
            let hidden = CubeBackend::float_swap_dims(head.hidden(&group), 0, 1);
            let gradient = product(hidden, gradient, DType::F32);
            by_weight = Some(match by_weight {
                Some(sum) => CubeBackend::float_add(sum, gradient),
                None => gradient,
            });
        }
    }
    let by_hidden = match by_hidden.len() {
        0 => one.clone(),
        1 => by_hidden.remove(0),
        _ => CubeBackend::float_cat(by_hidden, 0),
    };
    (rows.total(), by_hidden, by_weight.unwrap_or(one))
}

/// The inputs of the products.
struct Head {
    hidden: CubeTensor,
    weight: CubeTensor,
    wanted: [bool; 2],
    /// Rows whose logits exist together.
    chunk: usize,
}

impl Head {
    fn new(hidden: CubeTensor, weight: CubeTensor, wanted: [bool; 2]) -> Self {
        let ([n_rows, _], [_, vocabulary]) = (hidden.shape().dims(), weight.shape().dims());
        let bytes = match hidden.client.name() {
            "cuda" => 512 << 20,
            "cpu" => 16 << 20,
            // A buffer that a kernel reads has a limit there.
            _ => 64 << 20,
        };
        let most = (bytes / (4 * vocabulary).max(1)).max(ROW_STEP);
        // About equal chunks.
        let chunk = n_rows.div_ceil(n_rows.div_ceil(most));
        Self {
            hidden,
            weight,
            wanted,
            chunk: chunk.next_multiple_of(ROW_STEP),
        }
    }

    /// Ranges of rows whose gradients are multiplied at once.
    ///
    /// Those of the weight's gradient are large, so that it is seldom added to: the gradients of their
    /// logits take no more memory than that of the weight.
    fn groups(&self) -> Vec<Range<usize>> {
        let [n_rows, width] = self.hidden.shape().dims();
        let most = match self.wanted[1] {
            true => 4 * width / self.hidden.dtype.size(),
            false => 0,
        };
        let step = (most / self.chunk).max(1) * self.chunk;
        let range = |start: usize| start..n_rows.min(start + step);
        (0..n_rows).step_by(step).map(range).collect()
    }

    /// Computes the losses of a group of rows; the gradient by their logits if any is wanted.
    fn logits_gradient(&self, group: &Range<usize>, rows: &Rows) -> Option<CubeTensor> {
        let shape = [group.len(), self.weight.shape()[1]];
        let wanted = self.wanted.contains(&true);
        let gradient = wanted.then(|| empty(&self.hidden, Shape::new(shape), self.hidden.dtype));
        for start in group.clone().step_by(self.chunk) {
            let chunk = start..group.end.min(start + self.chunk);
            let logits = product(self.hidden(&chunk), self.weight.clone(), DType::F32);
            rows.losses(&logits, start);
            if let Some(gradient) = &gradient {
                rows.gradient(&logits, start, gradient, start - group.start);
            }
        }
        gradient
    }

    fn hidden(&self, rows: &Range<usize>) -> CubeTensor {
        let [n_rows, width] = self.hidden.shape().dims();
        match *rows == (0..n_rows) {
            true => self.hidden.clone(),
            false => {
                let slices = [Slice::from(rows.clone()), Slice::from(0..width)];
                CubeBackend::float_slice(self.hidden.clone(), &slices)
            }
        }
    }
}
