//! FP4 tensors as bytes.

mod dequantize;
mod quantize;

use crate::block_axis::BlockAxis;
use crate::{Fp4Error, Fp4Scheme};

/// A tensor in FP4: two codes per byte and one scale byte per block.
///
/// Row-major with the block axis last. Element `2i` is in the low nibble of code byte `i`, element
/// `2i + 1` in the high nibble; nibbles are [`e2m1`](crate::e2m1) codes, scale bytes are
/// [`e8m0`](crate::e8m0). For MXFP4 these are exactly the bytes of the gpt-oss `_blocks` and
/// `_scales` tensors, see [`layout::gpt_oss`](crate::layout::gpt_oss).
///
/// `S` is what holds the bytes: `Vec<u8>` by default, or a borrowed slice ([`PackedFp4Ref`]), so
/// that a memory-mapped checkpoint decodes without a copy.
///
/// Bytes are not validated beyond their number: every nibble is a value and every scale byte a
/// power of two, except that a block with scale byte 255 decodes to NaN (OCP MX v1.0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedFp4<S = Vec<u8>> {
    scheme: Fp4Scheme,
    shape: Vec<usize>,
    codes: S,
    scales: S,
}

/// A [`PackedFp4`] that borrows its bytes.
pub type PackedFp4Ref<'a> = PackedFp4<&'a [u8]>;

impl<S: AsRef<[u8]>> PackedFp4<S> {
    /// Puts a packed tensor together from its parts.
    ///
    /// # Shapes
    ///
    /// - shape: `[..., len]`, logical elements, block axis last
    /// - codes: `[..., len / 2]` bytes
    /// - scales: `[..., len / block_size]` bytes
    ///
    /// # Errors
    ///
    /// If `shape` is empty, its last dimension is not a multiple of the block size, or the number
    /// of bytes is wrong.
    pub fn from_parts(
        scheme: Fp4Scheme,
        shape: Vec<usize>,
        codes: S,
        scales: S,
    ) -> Result<Self, Fp4Error> {
        let axis = BlockAxis::new(&shape, shape.len().saturating_sub(1), &scheme)?;
        let n_elements = axis.n_elements();
        let block_size = scheme.block_size();
        let (n_codes, n_scales) = (codes.as_ref().len(), scales.as_ref().len());
        if n_codes != n_elements / 2 {
            return Err(Fp4Error::CodesLength {
                shape,
                expected: n_elements / 2,
                found: n_codes,
            });
        }
        if n_scales != n_elements / block_size {
            return Err(Fp4Error::ScalesLength {
                shape,
                expected: n_elements / block_size,
                found: n_scales,
                block_size,
            });
        }
        Ok(Self {
            scheme,
            shape,
            codes,
            scales,
        })
    }

    /// The numeric format.
    pub fn scheme(&self) -> Fp4Scheme {
        self.scheme
    }

    /// Logical shape in elements, block axis last.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Code bytes, `[..., len / 2]`, low nibble first.
    pub fn codes(&self) -> &[u8] {
        self.codes.as_ref()
    }

    /// Scale bytes, `[..., len / block_size]`.
    pub fn scales(&self) -> &[u8] {
        self.scales.as_ref()
    }

    /// Number of elements.
    pub fn n_elements(&self) -> usize {
        self.codes().len() * 2
    }

    /// Codes and scales, in this order.
    pub fn into_parts(self) -> (S, S) {
        (self.codes, self.scales)
    }

    /// The same tensor with borrowed bytes.
    pub fn view(&self) -> PackedFp4Ref<'_> {
        PackedFp4 {
            scheme: self.scheme,
            shape: self.shape.clone(),
            codes: self.codes(),
            scales: self.scales(),
        }
    }
}

#[cfg(test)]
mod tests;
