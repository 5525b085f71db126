//! Tensors that kernels go through without regard to blocks.

use burn::backend::TensorMetadata;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::buffer::{contiguous, float_words};
use super::memory_layout::{BlockLayout, MemoryLayout};
use crate::ops::kernels::float_words::FloatWords;

/// A tensor as lines of floats in memory order, in parts along the leading axis.
pub(super) struct Lines {
    pub tensor: CubeTensor,
    pub floats: FloatWords,
    /// Words of a vector, four at most.
    pub vector: usize,
    /// Vectors in a part.
    pub n_vectors: usize,
    /// Vectors in a line.
    pub width: usize,
    /// From one line to the next, in vectors.
    pub pitch: usize,
    /// Elements that the tensor spans in memory.
    pub span: usize,
}

impl Lines {
    /// Takes a tensor of one element or more as it lies, or copies it if it lies badly.
    ///
    /// The last word of a tensor of an odd number of 16-bit floats has a half that is not the
    /// tensor's; there must be only one part then.
    pub fn new(tensor: CubeTensor, parts: usize) -> Self {
        let floats = float_words(tensor.dtype);
        if let Some(lines) = Self::in_place(&tensor, floats, parts) {
            return lines;
        }
        let tensor = contiguous(tensor);
        let n_elements = tensor.meta.num_elements();
        Self::of(
            [1, n_elements, n_elements],
            n_elements,
            tensor,
            floats,
            parts,
        )
    }

    fn in_place(tensor: &CubeTensor, floats: FloatWords, parts: usize) -> Option<Self> {
        let (shape, strides) = (tensor.shape(), tensor.meta.strides());
        let innermost = (0..shape.len())
            .rev()
            .find(|&axis| strides[axis] == 1 && shape[axis] > 1)?;
        let layout = MemoryLayout::new(&shape, strides, innermost)?;
        let BlockLayout::Rows { n_rows, len, pitch } = layout.blocks else {
            return None;
        };
        let leading = strides[0] >= strides.iter().copied().max().unwrap_or(0);
        let offset = tensor.handle.offset_start.unwrap_or(0);
        let words = floats.per_word();
        if tensor.meta.is_tiled() || parts > 1 && !leading || !offset.is_multiple_of(4) {
            return None;
        }
        let dense = pitch == len || n_rows == 1;
        let whole_words = len.is_multiple_of(words) && pitch.is_multiple_of(words);
        if !dense && !whole_words {
            return None;
        }
        // Without gaps there is but one line.
        let n_elements = n_rows * len;
        let lines = if dense {
            [1, n_elements, n_elements]
        } else {
            [n_rows, len, pitch]
        };
        Some(Self::of(lines, layout.span, tensor.clone(), floats, parts))
    }

    fn of(
        [n_rows, len, pitch]: [usize; 3],
        span: usize,
        tensor: CubeTensor,
        floats: FloatWords,
        parts: usize,
    ) -> Self {
        let (rows, len, pitch) = if n_rows == 1 {
            (1, len / parts, pitch / parts)
        } else {
            (n_rows / parts, len, pitch)
        };
        let offset = tensor.handle.offset_start.unwrap_or(0) as usize;
        let fits = |&words: &usize| {
            let elements = words * floats.per_word();
            offset.is_multiple_of(words * 4)
                && len.is_multiple_of(elements)
                && pitch.is_multiple_of(elements)
        };
        let vector = [4, 2].into_iter().find(fits).unwrap_or(1);
        let vectors = |n: usize| n.div_ceil(vector * floats.per_word());
        Self {
            n_vectors: rows * vectors(len),
            width: vectors(len),
            pitch: vectors(pitch),
            tensor,
            floats,
            vector,
            span,
        }
    }

    /// Wide enough for every index.
    pub fn address_type(&self) -> AddressType {
        AddressType::from_len(self.span)
    }
}
