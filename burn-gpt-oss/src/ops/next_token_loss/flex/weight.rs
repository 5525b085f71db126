use std::ops::Range;

use burn::backend::TensorMetadata;
use burn_flex::FlexTensor;

use burn_fp4::backend::flex::{FloatElement, Matrix, MatrixMut, product};

/// Elements of half precision converted at a time: 4 MiB as float32, which the outer caches hold.
const TILE: usize = 1 << 20;

/// The head where it lies in memory, with any strides.
pub(super) struct Weight<'a, T> {
    values: &'a [T],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a, T: FloatElement> Weight<'a, T> {
    pub(super) fn new(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let stride = |axis: usize| match usize::try_from(layout.strides()[axis]) {
            Ok(stride) => stride,
            Err(_) => panic!("the head must not be a flipped view"),
        };
        Self {
            values: &tensor.storage::<T>()[layout.start_offset()..],
            shape: tensor.shape().dims(),
            strides: [stride(0), stride(1)],
        }
    }

    pub(super) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// `[rows, hidden] x [hidden, vocabulary] -> [rows, vocabulary]`
    pub(super) fn multiply(&self, x: Matrix<'_>, mut out: MatrixMut<'_>) {
        self.for_each_tile(|columns, tile| product(out.columns(columns), x, tile, false));
    }

    /// `[rows, vocabulary] x [hidden, vocabulary]^T -> [rows, hidden]`
    pub(super) fn multiply_transposed(&self, x: Matrix<'_>, mut out: MatrixMut<'_>) {
        self.for_each_tile(|columns, tile| {
            let add = columns.start > 0;
            product(out.reborrow(), x.columns(columns), tile.transposed(), add);
        });
    }

    /// Calls `visit` with ranges of columns and these columns in float32: all at once if they are.
    fn for_each_tile(&self, mut visit: impl FnMut(Range<usize>, Matrix<'_>)) {
        let [n_rows, n_columns] = self.shape;
        if let Some(values) = T::as_f32(self.values) {
            let whole = Matrix::with_strides(values, self.shape, self.strides);
            return visit(0..n_columns, whole);
        }
        let most = (TILE / n_rows.max(1)).max(1);
        let mut tile = Vec::new();
        for start in (0..n_columns).step_by(most) {
            let columns = start..n_columns.min(start + most);
            self.widen(&columns, &mut tile);
            visit(columns.clone(), Matrix::new(&tile, [n_rows, columns.len()]));
        }
    }

    fn widen(&self, columns: &Range<usize>, tile: &mut Vec<f32>) {
        let [row_stride, column_stride] = self.strides;
        let (mut line, mut space) = (Vec::new(), Vec::new());
        tile.clear();
        for row in 0..self.shape[0] {
            let first = row * row_stride + columns.start * column_stride;
            let values = match column_stride {
                1 => &self.values[first..first + columns.len()],
                _ => {
                    line.clear();
                    let values = self.values[first..].iter().step_by(column_stride.max(1));
                    line.extend(values.take(columns.len()).copied());
                    &line
                }
            };
            tile.extend_from_slice(T::widen(values, &mut space));
        }
    }
}
