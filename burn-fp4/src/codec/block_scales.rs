//! From the elements of blocks to their scales.

use crate::codec::element::private::Lane;
use crate::codec::format::Format;

/// Contiguous blocks whose scales are chosen together: vector lanes work on neighbouring blocks.
pub(crate) const SPAN: usize = 64;

/// Scales of contiguous blocks, at most [`SPAN`]; returns whether all elements are finite.
#[inline(always)]
pub(crate) fn of_contiguous<T: Lane, F: Format, const N: usize>(
    format: F,
    blocks: &[[T; N]],
    scales: &mut [f32; SPAN],
) -> bool {
    let mut maxima = [T::Magnitude::default(); SPAN];
    let finite = block_maxima(blocks, &mut maxima);
    if !finite {
        for (scale, block) in scales.iter_mut().zip(blocks) {
            *scale = of_any(format, block);
        }
    } else if format.searches() {
        for ((scale, block), &max) in scales.iter_mut().zip(blocks).zip(&maxima) {
            *scale = format.search(&block.map(T::widen), T::amax(max));
        }
    } else {
        of_maxima::<T, F>(format, &maxima, scales);
    }
    finite
}

/// Scales of the columns `start..` of `slab`, `N` rows of `inner` elements in which every column is a
/// block; as many columns as `scales` has. Returns whether all elements are finite.
#[inline(always)]
pub(crate) fn of_columns<T: Lane, F: Format, const N: usize>(
    format: F,
    slab: &[T],
    inner: usize,
    start: usize,
    maxima: &mut [T::Magnitude],
    scales: &mut [f32],
) -> bool {
    let columns = start..start + scales.len();
    maxima.fill(T::Magnitude::default());
    for row in slab.chunks_exact(inner) {
        for (max, x) in maxima.iter_mut().zip(&row[columns.clone()]) {
            *max = (*max).max(x.magnitude());
        }
    }
    if format.searches() {
        for (column, (scale, &max)) in scales.iter_mut().zip(maxima.iter()).enumerate() {
            let block: [T; N] = gather(slab, inner, start + column);
            *scale = format.search(&block.map(T::widen), T::amax(max));
        }
    } else {
        of_maxima::<T, F>(format, maxima, scales);
    }
    let finite = T::finite(maxima.iter().copied().max().unwrap_or_default());
    if !finite {
        for (column, (scale, &max)) in scales.iter_mut().zip(maxima.iter()).enumerate() {
            if !T::finite(max) {
                *scale = of_any::<T, F, N>(format, &gather(slab, inner, start + column));
            }
        }
    }
    finite
}

/// The elements of a column.
#[inline(always)]
fn gather<T: Lane, const N: usize>(slab: &[T], inner: usize, column: usize) -> [T; N] {
    core::array::from_fn(|row| slab[row * inner + column])
}

#[inline(always)]
fn of_maxima<T: Lane, F: Format>(format: F, maxima: &[T::Magnitude], scales: &mut [f32]) {
    for (scale, &max) in scales.iter_mut().zip(maxima) {
        *scale = format.scale(T::amax(max));
    }
}

/// Scale of a block that may hold infinities and NaN.
///
/// Follows ModelOpt: NaN does not take part, infinity counts as `f32::MAX`, and a block left
/// without a magnitude has scale 1, so that its NaN become `6` and not the tiniest number.
#[cold]
fn of_any<T: Lane, F: Format, const N: usize>(format: F, block: &[T; N]) -> f32 {
    let has_nan = block.iter().any(|x| x.widen().is_nan());
    let finite = block.map(|x| {
        let x = x.widen();
        if x.is_nan() {
            return 0.0;
        }
        x.clamp(f32::MIN, f32::MAX)
    });
    let amax = finite.iter().fold(0f32, |max, x| max.max(x.abs()));
    if amax == 0.0 && has_nan {
        1.0
    } else if format.searches() {
        format.search(&finite, amax)
    } else {
        format.scale(amax)
    }
}

/// Largest magnitude of every block, up to the first that has an element that is not finite; returns
/// whether there is none.
///
/// The early exit also keeps the compiler from putting neighbouring blocks side by side, for which it
/// would gather their elements one by one.
#[inline(always)]
fn block_maxima<T: Lane, const N: usize>(
    blocks: &[[T; N]],
    maxima: &mut [T::Magnitude; SPAN],
) -> bool {
    for (max, block) in maxima.iter_mut().zip(blocks) {
        *max = max_magnitude(block);
        if !T::finite(*max) {
            return false;
        }
    }
    true
}

/// Largest magnitude of `values`.
#[inline(always)]
pub(crate) fn max_magnitude<T: Lane>(values: &[T]) -> T::Magnitude {
    values
        .iter()
        .fold(T::Magnitude::default(), |max, x| max.max(x.magnitude()))
}
