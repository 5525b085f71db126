//! From the elements of blocks to their scales.

use crate::element::private::Lane;
use crate::format::Format;
use crate::scheme::MXFP4_BLOCK_SIZE;

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
    block_maxima(blocks, &mut maxima);
    if format.searches() {
        for ((scale, block), &max) in scales.iter_mut().zip(blocks).zip(&maxima) {
            *scale = format.search(&block.map(T::widen), T::amax(max));
        }
    } else {
        of_maxima::<T, F>(format, &maxima, scales);
    }
    let finite = T::finite(maxima.iter().copied().max().unwrap_or_default());
    if !finite {
        for ((scale, block), &max) in scales.iter_mut().zip(blocks).zip(&maxima) {
            if !T::finite(max) {
                *scale = of_non_finite(format, block);
            }
        }
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
                *scale = of_non_finite::<T, F, N>(format, &gather(slab, inner, start + column));
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

/// Scale of a block that holds an infinity or NaN.
///
/// Follows ModelOpt: NaN does not take part, infinity counts as `f32::MAX`, and a block left
/// without a magnitude has scale 1, so that its NaN become `6` and not the tiniest number.
#[cold]
fn of_non_finite<T: Lane, F: Format, const N: usize>(format: F, block: &[T; N]) -> f32 {
    let finite = block.map(|x| {
        let x = x.widen();
        if x.is_nan() {
            return 0.0;
        }
        x.clamp(f32::MIN, f32::MAX)
    });
    let amax = finite.iter().fold(0f32, |max, x| max.max(x.abs()));
    if amax == 0.0 {
        1.0
    } else if format.searches() {
        format.search(&finite, amax)
    } else {
        format.scale(amax)
    }
}

/// Largest magnitude of every block, at most [`SPAN`].
///
/// Neighbours are compared pair by pair until one number per block is left: loops over flat memory,
/// which become vector instructions. A loop over the elements of each block would not: the compiler
/// puts neighbouring blocks side by side and gathers their elements one by one.
#[inline(always)]
fn block_maxima<T: Lane, const N: usize>(blocks: &[[T; N]], maxima: &mut [T::Magnitude; SPAN]) {
    const MOST: usize = SPAN * MXFP4_BLOCK_SIZE / 2;
    let mut winners = [T::Magnitude::default(); MOST];
    let mut next = [T::Magnitude::default(); MOST / 2];
    let pairs = blocks.as_flattened().as_chunks::<2>().0;
    for (winner, pair) in winners.iter_mut().zip(pairs) {
        *winner = pair[0].magnitude().max(pair[1].magnitude());
    }
    // Two rounds at a time: from one array to the other and back; N / 2 is 8 or 16.
    halve::<T>(&winners, &mut next, pairs.len() / 2);
    halve::<T>(&next, &mut winners, pairs.len() / 4);
    halve::<T>(&winners, &mut next, pairs.len() / 8);
    if N == 2 * 8 {
        maxima.copy_from_slice(&next[..SPAN]);
    } else {
        halve::<T>(&next, maxima, pairs.len() / 16);
    }
}

/// The larger of every two neighbours, `n` times.
#[inline(always)]
fn halve<T: Lane>(from: &[T::Magnitude], to: &mut [T::Magnitude], n: usize) {
    for (to, pair) in to[..n].iter_mut().zip(from.as_chunks::<2>().0) {
        *to = pair[0].max(pair[1]);
    }
}

/// Largest magnitude of `values`.
#[inline(always)]
pub(crate) fn max_magnitude<T: Lane>(values: &[T]) -> T::Magnitude {
    values
        .iter()
        .fold(T::Magnitude::default(), |max, x| max.max(x.magnitude()))
}
