//! FP4 tensors as bytes.
pub(crate) mod cast;
pub(crate) mod fp4_tensor;
pub(crate) mod host;
pub(crate) mod quantized_tensor;
pub(crate) mod stats;

mod code_tile;
mod dequantize;
mod quantize;
mod quantize_learned;
mod requantize;

use rayon::prelude::*;

use crate::codec::block_axis::BlockAxis;
use crate::codec::e4m3;
use crate::codec::e8m0;
use crate::error::Fp4Error;
use crate::scheme::Fp4Scheme;

pub(crate) use quantize::Pack;

/// A tensor in FP4: two codes per byte, one scale byte per block, in NVFP4 also global scales.
///
/// Row-major with the block axis last. Element `2i` is in the low nibble of code byte `i`, element
/// `2i + 1` in the high nibble; nibbles are [`e2m1`](crate::codec::e2m1) codes, scale bytes are
/// [`e8m0`](crate::codec::e8m0) in MXFP4 and [`e4m3`](crate::codec::e4m3) in NVFP4. For MXFP4 these are exactly the
/// bytes of the gpt-oss `_blocks` and `_scales` tensors; [`layout`](crate::layout) has this and other
/// layouts.
///
/// An element is worth `code * scale` in MXFP4 and `code * (scale * global_scale)` in NVFP4, each
/// product rounded to `f32`.
///
/// `S` is what holds the bytes: `Vec<u8>` by default, or a borrowed slice ([`PackedFp4Ref`]), so
/// that a memory-mapped checkpoint decodes without a copy.
///
/// Only the number of bytes is validated. Every nibble is a valid code, and every scale byte is a scale or
/// NaN. A block whose scale byte is NaN decodes to NaN: 255 in E8M0 (OCP MX v1.0), 127 and 255 in E4M3.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedFp4<S = Vec<u8>> {
    scheme: Fp4Scheme,
    shape: Vec<usize>,
    codes: S,
    scales: S,
    global_scales: Vec<f32>,
}

/// A [`PackedFp4`] that borrows its bytes.
pub type PackedFp4Ref<'a> = PackedFp4<&'a [u8]>;

impl<S: AsRef<[u8]>> PackedFp4<S> {
    /// Puts a packed tensor without global scales together, that is one in MXFP4.
    ///
    /// # Shapes
    ///
    /// - shape: `[..., len]`, logical elements, block axis last
    /// - codes: `[..., len / 2]` bytes
    /// - scales: `[..., len / block_size]` bytes
    ///
    /// # Errors
    ///
    /// Those of [`from_parts_with_global`](Self::from_parts_with_global).
    pub fn from_parts(
        scheme: Fp4Scheme,
        shape: Vec<usize>,
        codes: S,
        scales: S,
    ) -> Result<Self, Fp4Error> {
        Self::from_parts_with_global(scheme, shape, codes, scales, Vec::new())
    }

    /// Puts a packed tensor together from its parts.
    ///
    /// # Shapes
    ///
    /// - shape: `[..., len]`, logical elements, block axis last
    /// - codes: `[..., len / 2]` bytes
    /// - scales: `[..., len / block_size]` bytes
    /// - global_scales: none for MXFP4, one per tensor or per index of the leading axis for NVFP4
    ///
    /// # Errors
    ///
    /// If `shape` is empty, its last dimension is not a multiple of the block size, or the number
    /// of bytes or of global scales is wrong.
    pub fn from_parts_with_global(
        scheme: Fp4Scheme,
        shape: Vec<usize>,
        codes: S,
        scales: S,
        global_scales: Vec<f32>,
    ) -> Result<Self, Fp4Error> {
        let axis = BlockAxis::new(&shape, shape.len().saturating_sub(1), &scheme)?;
        check_packed_len(&scheme, &shape, axis, (codes.as_ref(), scales.as_ref()))?;
        let n_global_scales = scheme.n_global_scales(&shape);
        if global_scales.len() != n_global_scales {
            return Err(Fp4Error::GlobalScales {
                expected: n_global_scales,
                found: global_scales.len(),
            });
        }
        Ok(Self {
            scheme,
            shape,
            codes,
            scales,
            global_scales,
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

    /// Global scales: none for MXFP4, one per tensor or per index of the leading axis for NVFP4.
    ///
    /// ModelOpt calls them `weight_scale_2`; compressed-tensors stores their reciprocals as
    /// `weight_global_scale`.
    pub fn global_scales(&self) -> &[f32] {
        &self.global_scales
    }

    /// Number of elements.
    pub fn n_elements(&self) -> usize {
        self.codes().len() * 2
    }

    /// The same tensor, its bytes held by something else.
    pub fn map<T>(self, hold: impl Fn(S) -> T) -> PackedFp4<T> {
        PackedFp4 {
            scheme: self.scheme,
            shape: self.shape,
            codes: hold(self.codes),
            scales: hold(self.scales),
            global_scales: self.global_scales,
        }
    }

    /// Whether codes, scales and global scales are those of another tensor, by whatever rule they were chosen.
    pub fn has_bytes_of<T: AsRef<[u8]>>(&self, other: &PackedFp4<T>) -> bool {
        self.codes() == other.codes()
            && self.scales() == other.scales()
            && self.global_scales() == other.global_scales()
    }

    /// Codes and scales, in this order.
    pub fn into_parts(self) -> (S, S) {
        (self.codes, self.scales)
    }

    /// Fails at a scale byte that is not a number or, in E4M3, has a sign.
    pub(crate) fn check_scales(&self) -> Result<(), Fp4Error> {
        let nan = match self.scheme {
            Fp4Scheme::Mxfp4 { .. } => e8m0::NAN,
            Fp4Scheme::Nvfp4 { .. } => e4m3::NAN,
        };
        let scales = self.scales();
        // A maximum vectorizes, a search does not.
        let chunks = scales.par_chunks(1 << 16);
        if chunks.all(|scales| scales.iter().copied().max() < Some(nan)) {
            return Ok(());
        }
        let index = scales.iter().position(|&byte| byte >= nan);
        let index = index.unwrap_or_default();
        Err(Fp4Error::ScaleByte {
            index,
            byte: scales[index],
        })
    }

    /// The same tensor with borrowed bytes.
    pub fn view(&self) -> PackedFp4Ref<'_> {
        PackedFp4 {
            scheme: self.scheme,
            shape: self.shape.clone(),
            codes: self.codes(),
            scales: self.scales(),
            global_scales: self.global_scales.clone(),
        }
    }
}

/// Fails unless codes and scales have as many bytes as a tensor of this geometry needs.
pub(crate) fn check_packed_len(
    scheme: &Fp4Scheme,
    shape: &[usize],
    geometry: BlockAxis,
    (codes, scales): (&[u8], &[u8]),
) -> Result<(), Fp4Error> {
    let n_elements = geometry.n_elements();
    let block_size = scheme.block_size();
    if codes.len() != n_elements / 2 {
        return Err(Fp4Error::CodesLength {
            shape: shape.to_vec(),
            expected: n_elements / 2,
            found: codes.len(),
        });
    }
    if scales.len() != n_elements / block_size {
        return Err(Fp4Error::ScalesLength {
            shape: shape.to_vec(),
            expected: n_elements / block_size,
            found: scales.len(),
            block_size,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
