//! The cast from MXFP4 to NVFP4: bytes to bytes, exact wherever E4M3 reaches.

mod report;
mod window;

use crate::codec::block_axis::BlockAxis;
use crate::error::Fp4Error;
use crate::packed::PackedFp4;
use crate::parallel::map;
use crate::scheme::Fp4Scheme;
use crate::scheme::MXFP4_BLOCK_SIZE;
use crate::scheme::global_scale::GlobalScope;

pub use report::CastReport;
use window::Window;

/// Blocks per task: 64 KiB of codes.
const CHUNK: usize = 1 << 12;
/// Code bytes of an MXFP4 block.
const BLOCK_BYTES: usize = MXFP4_BLOCK_SIZE / 2;

impl<S: AsRef<[u8]>> PackedFp4<S> {
    /// Casts MXFP4 to NVFP4 without a detour through floats: ModelOpt's `cast_mxfp4_to_nvfp4`.
    ///
    /// With `2^k` the scale of a block and `2^k_max` the largest one, the global scale is `2^m`,
    /// `m = k_max - 8`, and both halves of a block get the E4M3 scale `2^(k - m)`. That is exact for
    /// `k_max - k <= 17`: codes are copied and decode to the same `f32` bits as before, infinities
    /// of scale byte 254 included. Blocks of zeros are exact with any scale and get the nearest one.
    /// All other blocks get the smallest scale, `2^-9`, and codes that are rounded anew, to nearest,
    /// ties to even. The [`CastReport`] tells how many there were.
    ///
    /// As in ModelOpt, `k_max` is the maximum over scale bytes above 0. If that leaves a block out of reach,
    /// this cast takes the maximum over the blocks that are not all zeros instead. This can only make more
    /// blocks exact. There are two more differences to ModelOpt. Codes keep the signs of zeros. And `m` is
    /// at least -126, so that the global scale is a normal number; no block becomes inexact by that.
    ///
    /// # Shapes
    ///
    /// - self: `[..., len]` in MXFP4
    /// - output: `[..., len]` in NVFP4 in blocks of 16, with one global scale per tensor or per
    ///   index of the leading axis
    ///
    /// # Errors
    ///
    /// If this tensor is not in MXFP4, a scale byte is 255 (NaN), or `scope` asks for a global scale
    /// for every index of the only axis.
    pub fn cast_to_nvfp4(&self, scope: GlobalScope) -> Result<(PackedFp4, CastReport), Fp4Error> {
        self.check_cast()?;
        let scheme = Fp4Scheme::nvfp4().with_global_scope(scope);
        let shape = self.shape().to_vec();
        BlockAxis::new(&shape, shape.len() - 1, &scheme)?;

        let mut codes = vec![0; self.codes().len()];
        let mut scales = vec![0; 2 * self.scales().len()];
        let mut report = CastReport::default();
        let n_parts = scheme.n_global_scales(&shape);
        let mut global_scales = vec![Window::of(&[], &[]).global_scale(); n_parts];
        if !codes.is_empty() {
            let part = self.scales().len() / n_parts;
            let packed = self.codes().chunks(part * BLOCK_BYTES);
            let packed = packed.zip(self.scales().chunks(part));
            let out = codes.chunks_mut(part * BLOCK_BYTES);
            let out = out.zip(scales.chunks_mut(2 * part));
            for ((packed, out), global_scale) in packed.zip(out).zip(&mut global_scales) {
                let window = Window::of(packed.0, packed.1);
                *global_scale = window.global_scale();
                report += cast_part(&window, packed, out);
            }
        }
        let packed =
            PackedFp4::from_parts_with_global(scheme, shape, codes, scales, global_scales)?;
        Ok((packed, report))
    }
}

impl<S: AsRef<[u8]>> PackedFp4<S> {
    /// The global scale that [`cast_to_nvfp4`](Self::cast_to_nvfp4) chooses for the whole tensor.
    ///
    /// # Errors
    ///
    /// If this tensor is not in MXFP4 or a scale byte is 255 (NaN).
    pub fn nvfp4_global_scale(&self) -> Result<f32, Fp4Error> {
        self.check_cast()?;
        Ok(Window::of(self.codes(), self.scales()).global_scale())
    }

    /// [`cast_to_nvfp4`](Self::cast_to_nvfp4) of a part of a tensor, with the global scale of the whole.
    ///
    /// # Errors
    ///
    /// If this tensor is not in MXFP4, a scale byte is 255 (NaN), or the global scale is no power of two
    /// that is a normal number.
    pub fn cast_to_nvfp4_with(
        &self,
        global_scale: f32,
    ) -> Result<(PackedFp4, CastReport), Fp4Error> {
        self.check_cast()?;
        let window = Window::of_global_scale(global_scale)
            .ok_or(Fp4Error::CastGlobalScale { global_scale })?;
        let mut codes = vec![0; self.codes().len()];
        let mut scales = vec![0; 2 * self.scales().len()];
        let packed = (self.codes(), self.scales());
        let report = cast_part(&window, packed, (&mut codes, &mut scales));
        let (scheme, shape) = (Fp4Scheme::nvfp4(), self.shape().to_vec());
        let global = vec![global_scale];
        let packed = PackedFp4::from_parts_with_global(scheme, shape, codes, scales, global)?;
        Ok((packed, report))
    }

    fn check_cast(&self) -> Result<(), Fp4Error> {
        match self.scheme() {
            Fp4Scheme::Mxfp4 { .. } => self.check_scales(),
            found => Err(Fp4Error::Scheme {
                what: "the cast to NVFP4",
                expected: "MXFP4",
                found,
            }),
        }
    }
}

/// Casts everything that shares a global scale.
fn cast_part(
    window: &Window,
    (codes, scales): (&[u8], &[u8]),
    (codes_out, scales_out): (&mut [u8], &mut [u8]),
) -> CastReport {
    let packed = codes.chunks(CHUNK * BLOCK_BYTES);
    let packed = packed.zip(scales.chunks(CHUNK));
    let out = codes_out.chunks_mut(CHUNK * BLOCK_BYTES);
    let out = out.zip(scales_out.chunks_mut(2 * CHUNK));
    let reports = map(
        packed.zip(out),
        |((codes, scales), (codes_out, scales_out))| {
            codes_out.copy_from_slice(codes);
            window.cast(scales, codes_out, scales_out)
        },
    );
    reports
        .into_iter()
        .fold(CastReport::default(), |a, b| a + b)
}

#[cfg(test)]
mod tests;
