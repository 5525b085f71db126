//! Geometry: a shape seen from its block axis.

use crate::error::Fp4Error;
use crate::scheme::Fp4Scheme;

/// A row-major layout `[outer, len, inner]` whose blocks run along `len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockAxis {
    /// Product of the dimensions before the block axis.
    pub outer: usize,
    /// Length of the block axis, a multiple of the block size.
    pub len: usize,
    /// Product of the dimensions after the block axis: the distance between its neighbours.
    pub inner: usize,
}

impl BlockAxis {
    /// Collapses `shape` around `axis`.
    ///
    /// Fails if the axis does not exist, if its length is not a multiple of the block size, if it is
    /// the axis of the experts that have global scales, or if the number of elements overflows.
    pub fn new(shape: &[usize], axis: usize, scheme: &Fp4Scheme) -> Result<Self, Fp4Error> {
        let &len = shape.get(axis).ok_or_else(|| Fp4Error::Axis {
            axis,
            shape: shape.to_vec(),
        })?;
        let block_size = scheme.block_size();
        if !len.is_multiple_of(block_size) {
            return Err(Fp4Error::BlockSize {
                axis,
                length: len,
                block_size,
            });
        }
        if axis == 0 && scheme.has_expert_scales() {
            return Err(Fp4Error::ExpertAxis);
        }
        // Zero-sized dimensions must not hide an overflow of the others.
        let capacity = |dims: &[usize]| {
            dims.iter()
                .try_fold(1usize, |product, &dim| product.checked_mul(dim.max(1)))
        };
        capacity(shape).ok_or_else(|| Fp4Error::Overflow {
            shape: shape.to_vec(),
        })?;
        Ok(Self {
            outer: shape[..axis].iter().product(),
            len,
            inner: shape[axis + 1..].iter().product(),
        })
    }

    /// Number of elements of the whole layout.
    pub fn n_elements(&self) -> usize {
        self.outer * self.len * self.inner
    }

    /// Fails unless a slice of `found` elements fills this layout.
    pub fn check_len(
        &self,
        what: &'static str,
        shape: &[usize],
        found: usize,
    ) -> Result<(), Fp4Error> {
        debug_assert_eq!(self.n_elements(), shape.iter().product::<usize>());
        check_len(what, shape, found)
    }
}

/// Fails unless `found` elements fill `shape`.
pub(crate) fn check_len(what: &'static str, shape: &[usize], found: usize) -> Result<(), Fp4Error> {
    let product = |product: usize, &dim: &usize| product.checked_mul(dim);
    match shape.iter().try_fold(1, product) {
        Some(expected) if expected == found => Ok(()),
        Some(expected) => Err(Fp4Error::Length {
            what,
            shape: shape.to_vec(),
            expected,
            found,
        }),
        None => Err(Fp4Error::Overflow {
            shape: shape.to_vec(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collapses_around_the_axis() {
        let axis = BlockAxis::new(&[2, 3, 64, 5], 2, &Fp4Scheme::mxfp4()).unwrap();
        assert_eq!((axis.outer, axis.len, axis.inner), (6, 64, 5));
        assert_eq!(axis.n_elements(), 1920);
    }

    #[test]
    fn errors_say_what_to_do() {
        let scheme = Fp4Scheme::mxfp4();
        let error = BlockAxis::new(&[4, 48], 1, &scheme).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("axis 1 has length 48") && text.contains("block size 32"));
        assert!(matches!(
            BlockAxis::new(&[4, 48], 2, &scheme),
            Err(Fp4Error::Axis { axis: 2, .. })
        ));
        let huge = [0, usize::MAX, 64];
        assert!(matches!(
            BlockAxis::new(&huge, 2, &scheme),
            Err(Fp4Error::Overflow { .. })
        ));
    }
}
