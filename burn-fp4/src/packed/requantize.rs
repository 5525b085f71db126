//! NVFP4 rounded to MXFP4: the bytes that decoding and quantizing give, from tables.

mod tables;

use crate::codec::block_axis::BlockAxis;
use crate::error::Fp4Error;
use crate::packed::PackedFp4;
use crate::parallel::map;
use crate::scheme::scale_rule::ScaleRule;
use crate::scheme::{Fp4Scheme, MXFP4_BLOCK_SIZE};
use tables::Tables;

/// MXFP4 blocks per task: a megabyte of codes, so that the tables of a task are filled once and read often.
const CHUNK: usize = 1 << 16;
/// Code bytes of an MXFP4 block.
const BLOCK_BYTES: usize = MXFP4_BLOCK_SIZE / 2;

impl<S: AsRef<[u8]>> PackedFp4<S> {
    /// Rounds NVFP4 to MXFP4: the bytes that [`quantize`](PackedFp4::quantize) makes of the decoded values.
    ///
    /// An MXFP4 block is two NVFP4 blocks of 16, or one of 32. A byte of codes becomes another one that depends on the
    /// two scale bytes alone, so it is rounded once and looked up from then on.
    ///
    /// # Shapes
    ///
    /// - self: `[..., len]` in NVFP4
    /// - output: `[..., len]` in MXFP4
    ///
    /// # Errors
    ///
    /// If this tensor is not in NVFP4, `len` is not a multiple of 32, or a value is not finite.
    pub fn requantize_to_mxfp4(&self, scale_rule: ScaleRule) -> Result<PackedFp4, Fp4Error> {
        let Fp4Scheme::Nvfp4 { .. } = self.scheme() else {
            return Err(Fp4Error::Scheme {
                what: "rounding to MXFP4",
                expected: "NVFP4",
                found: self.scheme(),
            });
        };
        let scheme = Fp4Scheme::mxfp4_with(scale_rule);
        let shape = self.shape().to_vec();
        BlockAxis::new(&shape, shape.len() - 1, &scheme)?;

        let mut codes = vec![0; self.codes().len()];
        let mut scales = vec![0; codes.len() / BLOCK_BYTES];
        if !codes.is_empty() {
            let part = scales.len() / self.global_scales().len();
            let out = codes.chunks_mut(part * BLOCK_BYTES);
            let out = out.zip(scales.chunks_mut(part));
            for (index, (codes, scales)) in out.enumerate() {
                self.requantize_part(index * part, scale_rule, (codes, scales))?;
            }
        }
        PackedFp4::from_parts(scheme, shape, codes, scales)
    }

    /// Everything that shares a global scale, from the given MXFP4 block.
    fn requantize_part(
        &self,
        first: usize,
        scale_rule: ScaleRule,
        (codes, scales): (&mut [u8], &mut [u8]),
    ) -> Result<(), Fp4Error> {
        let part = scales.len();
        let values = tables::values(self.global_scales()[first / part])?;
        let n_scales = MXFP4_BLOCK_SIZE / self.scheme().block_size();
        let packed_codes = &self.codes()[first * BLOCK_BYTES..][..part * BLOCK_BYTES];
        let packed_scales = &self.scales()[first * n_scales..][..part * n_scales];
        let packed = packed_codes.chunks(CHUNK * BLOCK_BYTES);
        let packed = packed.zip(packed_scales.chunks(CHUNK * n_scales));
        let out = codes.chunks_mut(CHUNK * BLOCK_BYTES);
        let out = out.zip(scales.chunks_mut(CHUNK));
        let results = map(packed.zip(out).enumerate(), |(chunk, (packed, out))| {
            let done = Tables::new(&values, scale_rule).requantize(packed, out);
            done.map_err(|(index, value)| Fp4Error::NonFinite {
                index: (first + chunk * CHUNK) * MXFP4_BLOCK_SIZE + index,
                value,
            })
        });
        // The first error, whichever task was done first.
        results.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
