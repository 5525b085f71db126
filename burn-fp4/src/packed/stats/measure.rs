//! The walk over a tensor that quantizes and only counts.

use super::lanes::{LANES, Lanes, Sums};
use crate::codec::block_axis::BlockAxis;
use crate::codec::block_scales::{SPAN, of_columns, of_contiguous};
use crate::codec::element::Fp4Element;
use crate::codec::element::private::Lane;
use crate::codec::format::{Format, FormatTask};
use crate::parallel::map;
use crate::simd::{Kernel, dispatch};

/// Elements per task where blocks are contiguous, a multiple of every block size.
const CHUNK: usize = 1 << 15;
/// Columns that are walked together where they are not, a multiple of the lanes.
const TILE: usize = 2048;

/// Statistics of a whole tensor, a [`FormatTask`].
pub(super) struct Measure<'a, T> {
    pub values: &'a [T],
    pub geometry: BlockAxis,
}

impl<T: Fp4Element> FormatTask for Measure<'_, T> {
    type Output = Sums;

    fn run<F: Format, const N: usize>(self, formats: &[F]) -> Sums {
        let part = self.values.len() / formats.len();
        let inner = self.geometry.inner;
        let parts = self.values.chunks(part).zip(formats);
        in_order(map(parts, |(values, &format)| {
            if inner == 1 {
                let chunks = values.chunks(CHUNK);
                in_order(map(chunks, |values| {
                    dispatch(Blocks::<T, F, N> { values, format })
                }))
            } else {
                let slabs = values.chunks(N * inner);
                in_order(map(slabs, |values| {
                    dispatch(Slab::<T, F, N> {
                        values,
                        inner,
                        format,
                    })
                }))
            }
        }))
    }
}

/// Adds up from first to last.
fn in_order(sums: Vec<Sums>) -> Sums {
    let mut total = Sums::default();
    for sums in sums {
        total += sums;
    }
    total
}

/// Whole blocks one after the other.
struct Blocks<'a, T, F, const N: usize> {
    values: &'a [T],
    format: F,
}

impl<T: Fp4Element, F: Format, const N: usize> Kernel for Blocks<'_, T, F, N> {
    type Output = Sums;

    #[inline(always)]
    fn run(self) -> Sums {
        let format = self.format;
        let mut lanes = Lanes::default();
        let mut scales = [1.0; SPAN];
        for blocks in self.values.as_chunks::<N>().0.chunks(SPAN) {
            of_contiguous(format, blocks, &mut scales);
            for (block, &scale) in blocks.iter().zip(&scales) {
                let keys = [format.key(scale); LANES];
                for values in block.as_chunks::<LANES>().0 {
                    lanes.add(format, &values.map(T::widen), &keys);
                }
            }
        }
        lanes.fold()
    }
}

/// One row of blocks: `N` rows of `inner` columns, every column a block.
struct Slab<'a, T, F, const N: usize> {
    values: &'a [T],
    inner: usize,
    format: F,
}

impl<T: Fp4Element, F: Format, const N: usize> Kernel for Slab<'_, T, F, N> {
    type Output = Sums;

    #[inline(always)]
    fn run(self) -> Sums {
        let (format, inner) = (self.format, self.inner);
        let mut maxima = [<T as Lane>::Magnitude::default(); TILE];
        let mut keys = [1.0; TILE];
        let mut sums = Sums::default();
        for start in (0..inner).step_by(TILE) {
            let width = TILE.min(inner - start);
            let (maxima, keys) = (&mut maxima[..width], &mut keys[..width]);
            of_columns::<T, F, N>(format, self.values, inner, start, maxima, keys);
            for key in keys.iter_mut() {
                *key = format.key(*key);
            }
            let mut lanes = Lanes::default();
            for row in self.values.chunks_exact(inner) {
                add_row(&mut lanes, format, &row[start..start + width], keys);
            }
            sums += lanes.fold();
        }
        sums
    }
}

/// Adds a row of elements, each with the key of its column.
#[inline(always)]
fn add_row<T: Lane, F: Format>(lanes: &mut Lanes, format: F, row: &[T], keys: &[f32]) {
    let (values, last_values) = row.as_chunks::<LANES>();
    let (keys, last_keys) = keys.as_chunks::<LANES>();
    for (values, keys) in values.iter().zip(keys) {
        lanes.add(format, &values.map(T::widen), keys);
    }
    if !last_values.is_empty() {
        let (mut values, mut keys) = ([0.0; LANES], [1.0; LANES]);
        for (value, x) in values.iter_mut().zip(last_values) {
            *value = x.widen();
        }
        keys[..last_keys.len()].copy_from_slice(last_keys);
        lanes.add(format, &values, &keys);
    }
}
