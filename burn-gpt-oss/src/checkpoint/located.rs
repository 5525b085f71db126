//! Where the bytes of a tensor lie, whatever the program that wrote the files calls it.

use std::borrow::Cow;
use std::ops::Range;

use safetensors::Dtype;

use super::elements::transpose;
use super::mapped::MappedFile;

/// A tensor under the name that the published checkpoints have for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub place: Place,
}

/// What its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A range of a file.
    File(Extent),
    /// A matrix or a vector for each index of the leading axis, from tensors of their own.
    Gathered(Gathered),
    /// A few bytes, computed from others.
    Computed(Vec<u8>),
}

/// A range of the data of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub file: usize,
    pub range: Range<usize>,
}

/// Tensors that are one tensor here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gathered {
    /// For each index of the leading axis, tensors whose rows alternate.
    pub parts: Vec<Vec<Extent>>,
    /// Bytes of a row.
    pub row_bytes: usize,
    /// Bytes of an element, where rows and columns are swapped.
    pub turned: Option<usize>,
}

impl Located {
    /// A tensor as it lies in a file.
    pub fn in_file(file: usize, info: &safetensors::tensor::TensorInfo) -> Self {
        Self {
            dtype: info.dtype,
            shape: info.shape.clone(),
            place: Place::File(Extent {
                file,
                range: info.data_offsets.0..info.data_offsets.1,
            }),
        }
    }

    /// Bytes of the tensor.
    pub fn n_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }

    /// The file that holds it, or its first part.
    pub fn file(&self) -> Option<usize> {
        self.extents().next().map(|extent| extent.file)
    }

    /// All ranges of files that it is made of.
    pub fn extents(&self) -> impl Iterator<Item = &Extent> {
        let (one, many) = match &self.place {
            Place::File(extent) => (Some(extent), None),
            Place::Gathered(gathered) => (None, Some(gathered.parts.iter().flatten())),
            Place::Computed(_) => (None, None),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// All bytes.
    pub fn bytes<'a>(&'a self, files: &'a [MappedFile]) -> Cow<'a, [u8]> {
        let bytes = |extent: &Extent| files[extent.file].bytes(extent.range.clone());
        match &self.place {
            Place::File(extent) => Cow::Borrowed(bytes(extent)),
            Place::Gathered(gathered) => Cow::Owned(gathered.bytes(0..gathered.parts.len(), bytes)),
            Place::Computed(bytes) => Cow::Borrowed(bytes),
        }
    }

    /// The bytes of some indices of the leading axis.
    pub fn bytes_of<'a>(&'a self, leading: Range<usize>, files: &'a [MappedFile]) -> Cow<'a, [u8]> {
        let stride = self.n_bytes() / self.shape.first().copied().unwrap_or(1).max(1);
        let part = leading.start * stride..leading.end * stride;
        let bytes = |extent: &Extent| files[extent.file].bytes(extent.range.clone());
        match &self.place {
            Place::File(extent) => Cow::Borrowed(&bytes(extent)[part]),
            Place::Gathered(gathered) => Cow::Owned(gathered.bytes(leading, bytes)),
            Place::Computed(bytes) => Cow::Borrowed(&bytes[part]),
        }
    }
}

impl Gathered {
    fn bytes<'a>(
        &self,
        leading: Range<usize>,
        bytes: impl Fn(&Extent) -> &'a [u8] + Copy,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        for parts in &self.parts[leading] {
            let parts: Vec<&[u8]> = parts.iter().map(bytes).collect();
            let matrix = alternate(&parts, self.row_bytes);
            match self.turned {
                None => out.extend_from_slice(&matrix),
                Some(element) => out.extend(turn(&matrix, self.row_bytes, element)),
            }
        }
        out
    }
}

/// The rows of several matrices in turn; of one, the matrix itself.
fn alternate<'a>(parts: &[&'a [u8]], row_bytes: usize) -> Cow<'a, [u8]> {
    if let [part] = parts {
        return Cow::Borrowed(part);
    }
    let n_bytes = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(n_bytes);
    let mut rows: Vec<_> = parts
        .iter()
        .map(|part| part.chunks_exact(row_bytes.max(1)))
        .collect();
    while out.len() < n_bytes {
        let before = out.len();
        let next = rows.iter_mut().filter_map(Iterator::next);
        next.for_each(|row| out.extend_from_slice(row));
        if out.len() == before {
            break;
        }
    }
    Cow::Owned(out)
}

/// `[rows, columns]` to `[columns, rows]`.
fn turn(matrix: &[u8], row_bytes: usize, element: usize) -> Vec<u8> {
    fn of<const N: usize>(matrix: &[u8], row_bytes: usize) -> Vec<u8>
    where
        [u8; N]: Default,
    {
        let (rows, columns) = (matrix.len() / row_bytes, row_bytes / N);
        transpose(matrix.as_chunks::<N>().0, rows, columns).concat()
    }
    match element {
        1 => of::<1>(matrix, row_bytes),
        2 => of::<2>(matrix, row_bytes),
        _ => of::<4>(matrix, row_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_alternate_and_matrices_turn() {
        let (gate, up) = ([0u8, 1, 2, 3], [10u8, 11, 12, 13]);
        let both = alternate(&[&gate, &up], 2);
        assert_eq!(*both, [0, 1, 10, 11, 2, 3, 12, 13]);
        assert_eq!(turn(&both, 2, 1), [0, 10, 2, 12, 1, 11, 3, 13]);
        assert_eq!(turn(&both, 4, 2), [0, 1, 2, 3, 10, 11, 12, 13]);
        assert_eq!(turn(&both, 2, 2), *both);
    }
}
