//! Block scales with a trained parameter each (LSQ, learned step size quantization).
//!
//! In MXFP4 the parameter is added to the exponent that the scale rule chose: zero is the rule. In
//! NVFP4 it takes the place of the largest magnitude of the block. The effective scale is always one
//! that the format can store.

mod backward;
mod forward;

use crate::codec::block_axis::BlockAxis;
use crate::codec::block_scales::{SPAN, of_columns, of_contiguous};
use crate::codec::element::Fp4Element;
use crate::codec::element::private::Lane;
use crate::codec::format::{Format, with_format};
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::error::Fp4Error;

/// Elements per task where blocks are contiguous, a multiple of every block size.
const CHUNK: usize = 1 << 15;
/// Columns per tile where they are not.
const TILE: usize = 1024;

impl SliceQuantizer {
    /// [`fake_quantize`](Self::fake_quantize) with a learned parameter for every block scale.
    ///
    /// MXFP4: the exponent is that of the scale rule plus the parameter rounded to nearest, ties to
    /// even, within `-127..=126`. NVFP4: the parameter is the largest magnitude of the block, whatever
    /// the rule; its scale lies within `2^-9 ..= 448` relative to the global scale. With offset zero,
    /// or with the largest magnitudes under [`Nvfp4ScaleRule::Nearest`](crate::Nvfp4ScaleRule), this
    /// is `fake_quantize`, bit for bit. Values that are not finite saturate.
    ///
    /// # Shapes
    ///
    /// - values, output: `shape`, row-major; blocks run along `axis`
    /// - parameter: `shape` with the length of `axis` divided by the block size
    ///
    /// # Errors
    ///
    /// If `axis` does not exist, its length is not a multiple of the block size, a slice does not have
    /// the length its shape needs, or frozen magnitudes are unusable.
    pub fn fake_quantize_learned<T: Fp4Element>(
        &self,
        values: &[T],
        parameter: &[f32],
        shape: &[usize],
        axis: usize,
    ) -> Result<Vec<T>, Fp4Error> {
        let geometry = self.learned_geometry(values, parameter, shape, axis)?;
        let global_scales = self.global_scales(values, shape)?;
        let mut out = T::zeros(values.len());
        if !values.is_empty() {
            let task = forward::Forward {
                values,
                parameter,
                out: &mut out,
                geometry,
            };
            with_format(&self.scheme().without_search(), &global_scales, task);
        }
        Ok(out)
    }

    /// Gradients of [`fake_quantize_learned`](Self::fake_quantize_learned) for the values and for the
    /// parameter.
    ///
    /// With the scale `s` of a block (in NVFP4 times the global scale), `y = x / s` and `q` its
    /// rounded value, the values get `grad` where `|y| <= 6`, else zero, and `s` gets the sum over the
    /// block of `grad * (q - y)`, or of `grad * q` where `|y| > 6`. The parameter of MXFP4 gets this
    /// times `s * ln 2`; that of NVFP4 one sixth of it, or zero where its scale is beyond 448 times
    /// the global one. Rounding counts as the identity throughout. Sums are `f32`, in the order of the
    /// block.
    ///
    /// # Shapes
    ///
    /// - values, grad, first output: `shape`, row-major; blocks run along `axis`
    /// - parameter, second output: `shape` with the length of `axis` divided by the block size
    ///
    /// # Errors
    ///
    /// Those of `fake_quantize_learned`, and if `grad` does not have as many elements as `shape`.
    pub fn learned_gradients<T: Fp4Element>(
        &self,
        values: &[T],
        parameter: &[f32],
        grad: &[T],
        shape: &[usize],
        axis: usize,
    ) -> Result<(Vec<T>, Vec<f32>), Fp4Error> {
        let geometry = self.learned_geometry(values, parameter, shape, axis)?;
        geometry.check_len("grad", shape, grad.len())?;
        let global_scales = self.global_scales(values, shape)?;
        let mut out = T::zeros(values.len());
        let mut out_parameter = vec![0.0; parameter.len()];
        if !values.is_empty() {
            let task = backward::Gradients {
                values,
                parameter,
                grad,
                out: &mut out,
                out_parameter: &mut out_parameter,
                geometry,
            };
            with_format(&self.scheme().without_search(), &global_scales, task);
        }
        Ok((out, out_parameter))
    }

    pub(crate) fn learned_geometry<T: Fp4Element>(
        &self,
        values: &[T],
        parameter: &[f32],
        shape: &[usize],
        axis: usize,
    ) -> Result<BlockAxis, Fp4Error> {
        let geometry = self.geometry(values, shape, axis)?;
        let expected = values.len() / self.scheme().block_size();
        if parameter.len() != expected {
            let mut shape = shape.to_vec();
            shape[axis] /= self.scheme().block_size();
            return Err(Fp4Error::Length {
                what: "parameter",
                shape,
                expected,
                found: parameter.len(),
            });
        }
        Ok(geometry)
    }
}

/// Learned scales of contiguous blocks, at most [`SPAN`].
#[inline(always)]
fn contiguous_scales<T: Lane, F: Format, const N: usize>(
    format: F,
    blocks: &[[T; N]],
    parameter: &[f32],
    scales: &mut [f32; SPAN],
) {
    of_contiguous(format, blocks, scales);
    for (scale, &parameter) in scales.iter_mut().zip(parameter) {
        *scale = format.learned(*scale, parameter);
    }
}

/// Learned scales of the columns `start..` of a slab, as many as `scales` has.
#[inline(always)]
fn column_scales<T: Lane, F: Format, const N: usize>(
    format: F,
    slab: &[T],
    parameter: &[f32],
    start: usize,
    scales: &mut [f32],
) {
    let mut maxima = [<T as Lane>::Magnitude::default(); TILE];
    let maxima = &mut maxima[..scales.len()];
    of_columns::<T, F, N>(format, slab, parameter.len(), start, maxima, scales);
    for (scale, &parameter) in scales.iter_mut().zip(&parameter[start..]) {
        *scale = format.learned(*scale, parameter);
    }
}

#[cfg(test)]
mod tests;
