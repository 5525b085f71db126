//! From floats to codes and scales, where every block scale has a trained parameter.

use super::PackedFp4;
use crate::codec::block_axis::BlockAxis;
use crate::codec::block_scales::{SPAN, of_contiguous};
use crate::codec::element::Fp4Element;
use crate::codec::format::{Format, FormatTask, with_format};
use crate::codec::nibbles;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::error::Fp4Error;
use crate::parallel::for_each;

impl SliceQuantizer {
    /// [`quantize`](Self::quantize) with a learned parameter for every block scale: decoded, the result is
    /// [`fake_quantize_learned`](Self::fake_quantize_learned), bit for bit.
    ///
    /// # Shapes
    ///
    /// - values: `shape`, row-major; blocks run along `axis`
    /// - parameter: `shape` with the length of `axis` divided by the block size
    /// - result: `shape` with `axis` moved to the end
    ///
    /// # Errors
    ///
    /// Those of `fake_quantize_learned`, and a value that is not finite.
    pub fn quantize_learned<T: Fp4Element>(
        &self,
        values: &[T],
        parameter: &[f32],
        shape: &[usize],
        axis: usize,
    ) -> Result<PackedFp4, Fp4Error> {
        let geometry = self.learned_geometry(values, parameter, shape, axis)?;
        let finite = values.iter().all(|value| value.widen().is_finite());
        self.check_finite(finite, values)?;
        let global_scales = self.global_scales(values, shape)?;
        let mut codes = vec![0; values.len() / 2];
        let mut scales = vec![0; parameter.len()];
        if !values.is_empty() {
            let task = PackLearned {
                values,
                parameter,
                geometry,
                codes: &mut codes,
                scales: &mut scales,
            };
            with_format(&self.scheme().without_search(), &global_scales, task);
        }
        let mut logical = shape.to_vec();
        let len = logical.remove(axis);
        logical.push(len);
        PackedFp4::from_parts_with_global(self.scheme(), logical, codes, scales, global_scales)
    }
}

/// A whole tensor; one matrix `[len, inner]` is a task.
struct PackLearned<'a, T> {
    values: &'a [T],
    parameter: &'a [f32],
    geometry: BlockAxis,
    codes: &'a mut [u8],
    scales: &'a mut [u8],
}

impl<T: Fp4Element> FormatTask for PackLearned<'_, T> {
    type Output = ();

    fn run<F: Format, const N: usize>(self, formats: &[F]) {
        let BlockAxis { len, inner, .. } = self.geometry;
        let matrix = len * inner;
        let per_format = self.values.len() / matrix / formats.len();
        let read = self.values.chunks(matrix);
        let read = read.zip(self.parameter.chunks(matrix / N));
        let written = self.codes.chunks_mut(matrix / 2);
        let written = written.zip(self.scales.chunks_mut(matrix / N));
        let matrices = read.zip(written).enumerate();
        for_each(matrices, |(i, ((values, parameter), (codes, scales)))| {
            let format = formats[i / per_format];
            let columns = codes.chunks_mut(len / 2).zip(scales.chunks_mut(len / N));
            for (column, (codes, scales)) in columns.enumerate() {
                let blocks = codes.chunks_exact_mut(N / 2).zip(scales).enumerate();
                for (block, (codes, byte)) in blocks {
                    let parameter = parameter[block * inner + column];
                    let first = block * N * inner + column;
                    let values: [T; N] = core::array::from_fn(|i| values[first + i * inner]);
                    *byte = pack_block(format, &values, parameter, codes);
                }
            }
        });
    }
}

/// Packs a block and returns the byte of its scale.
fn pack_block<T: Fp4Element, F: Format, const N: usize>(
    format: F,
    block: &[T; N],
    parameter: f32,
    codes: &mut [u8],
) -> u8 {
    let mut scales = [1.0; SPAN];
    of_contiguous(format, core::slice::from_ref(block), &mut scales);
    let scale = format.learned(scales[0], parameter);
    let key = format.key(scale);
    let nibbles = block.map(|x| format.code(x.widen(), key) as u8);
    nibbles::pack(&nibbles, codes);
    format.byte(scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::Fp4Scheme;

    #[test]
    fn decoded_it_is_what_the_forward_pass_gives() {
        let shape = [3, 64, 5];
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let values: Vec<f32> = (0..3 * 64 * 5).map(|_| next()).collect();
        for scheme in [
            Fp4Scheme::mxfp4(),
            Fp4Scheme::nvfp4(),
            Fp4Scheme::nvfp4().with_global_scope(crate::GlobalScope::Expert),
        ] {
            let quantizer = SliceQuantizer::new(scheme);
            let n_blocks = values.len() / scheme.block_size();
            // Offsets of exponents from -2 to 2, or magnitudes from 0 to 2.
            let parameter: Vec<f32> = (0..n_blocks)
                .map(|_| match scheme {
                    Fp4Scheme::Mxfp4 { .. } => 2.0 * next(),
                    Fp4Scheme::Nvfp4 { .. } => 1.0 + next(),
                })
                .collect();
            let packed = quantizer.quantize_learned(&values, &parameter, &shape, 1);
            let packed = packed.unwrap();
            assert_eq!(packed.shape(), [3, 5, 64]);
            let mut decoded = vec![0.0; values.len()];
            packed.dequantize_along(1, &mut decoded).unwrap();
            let expected = quantizer.fake_quantize_learned(&values, &parameter, &shape, 1);
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&decoded), bits(&expected.unwrap()), "{scheme}");
        }
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        let mut values = [0.5f32; 32];
        values[3] = f32::NAN;
        let quantizer = SliceQuantizer::new(Fp4Scheme::mxfp4());
        let packed = quantizer.quantize_learned(&values, &[0.0], &[32], 0);
        assert!(packed.is_err());
        let packed = quantizer.quantize_learned(&values, &[0.0, 0.0], &[32], 0);
        assert!(matches!(packed, Err(Fp4Error::Length { .. })));
    }
}
