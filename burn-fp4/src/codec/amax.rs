//! The largest magnitude of what a global scale covers.

use crate::codec::block_scales::max_magnitude;
use crate::codec::element::Fp4Element;
use crate::codec::element::private::Lane;
use crate::parallel::map;
use crate::simd::{Kernel, dispatch};

/// Elements per task.
const CHUNK: usize = 1 << 15;

/// Largest finite magnitude of each of `n_parts` equal parts of `values`; the maximum does not depend
/// on the number of threads. NaN is ignored, infinity counts as `f32::MAX`.
pub(crate) fn amax_of_parts<T: Fp4Element>(values: &[T], n_parts: usize) -> Vec<f32> {
    if values.is_empty() {
        return vec![0.0; n_parts];
    }
    let parts = values.chunks(values.len() / n_parts);
    map(parts, amax)
}

fn amax<T: Fp4Element>(values: &[T]) -> f32 {
    let chunks = values.chunks(CHUNK);
    let maxima = map(chunks, |values| dispatch(Maximum { values }));
    let max = maxima.into_iter().max().unwrap_or_default();
    if T::finite(max) {
        return T::amax(max);
    }
    // `f32::max` returns the other operand for NaN.
    let maxima = map(values.chunks(CHUNK), |values| {
        let magnitudes = values.iter().map(|x| x.widen().abs());
        magnitudes.fold(0.0, f32::max)
    });
    maxima.into_iter().fold(0.0, f32::max).min(f32::MAX)
}

struct Maximum<'a, T> {
    values: &'a [T],
}

impl<T: Fp4Element> Kernel for Maximum<'_, T> {
    type Output = <T as Lane>::Magnitude;

    #[inline(always)]
    fn run(self) -> Self::Output {
        max_magnitude(self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_finite_values_do_not_spoil_the_maximum() {
        assert_eq!(amax_of_parts(&[1.0, -3.0, 2.0, f32::NAN], 1), [3.0]);
        assert_eq!(amax_of_parts(&[1.0, -3.0, 2.0, 0.5], 2), [3.0, 2.0]);
        assert_eq!(amax_of_parts(&[1.0, f32::NEG_INFINITY], 1), [f32::MAX]);
        assert_eq!(amax_of_parts::<f32>(&[], 3), [0.0; 3]);
    }
}
