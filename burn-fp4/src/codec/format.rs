//! One FP4 format with everything that is constant over a tensor folded in: what the loops compute.
//!
//! Fake quantization, packing and unpacking all go through these few functions, so they cannot
//! disagree. All of them vectorize, except the searches.

mod mx;
mod nv;

use crate::codec::element::private::Lane;
use crate::scheme::{Fp4Scheme, Nvfp4BlockSize};

pub(crate) use mx::Mx;
pub(crate) use nv::Nv;

/// The arithmetic of a format.
///
/// A block has a *scale*, a number that stands for its scale byte (MXFP4: the reciprocal of the
/// power of two, NVFP4: the E4M3 value), and a *key*, what an element is brought to the grid with
/// (the same for MXFP4; for NVFP4 the product with the global scale).
pub(crate) trait Format: Copy + Send + Sync {
    /// Whether [`search`](Self::search) chooses the scale instead of [`scale`](Self::scale).
    fn searches(self) -> bool;
    /// Scale of a block with finite largest magnitude `amax >= 0`.
    fn scale(self, amax: f32) -> f32;
    /// Scale of a block of finite values with the given largest magnitude.
    fn search<const N: usize>(self, block: &[f32; N], amax: f32) -> f32;
    /// Scale of a block whose parameter is learned, from the scale that the rule chose; any parameter
    /// is allowed.
    fn learned(self, scale: f32, parameter: f32) -> f32;
    /// Derivative of the factor of a learned `scale` by its parameter, where rounding has derivative
    /// 1.
    fn learned_slope(self, scale: f32, parameter: f32) -> f32;
    /// Byte of a scale.
    fn byte(self, scale: f32) -> u8;
    /// Key of a scale.
    fn key(self, scale: f32) -> f32;
    /// `|x|` in units of the grid. Not finite where the key is zero.
    fn normalize(self, x: f32, key: f32) -> f32;
    /// What a value of the grid is multiplied with.
    fn factor(self, key: f32) -> f32;
    /// The bits of `x` that the sign of its code comes from, `0` or `1 << 31`.
    fn sign(x: f32) -> u32;
    /// The code of `x`.
    fn code(self, x: f32, key: f32) -> u32;
    /// What a value of the grid is multiplied with, from the scale byte; any byte is allowed.
    fn factor_of_byte(self, byte: u8) -> f32;
    /// A value of this format in the type `T`.
    fn narrow<T: Lane>(value: f32) -> T;

    /// Rounds one element of a block.
    #[inline(always)]
    fn fake_quantize<T: Lane>(self, x: T, key: f32) -> T {
        let x = x.widen();
        let magnitude =
            crate::codec::e2m1::round_magnitude(self.normalize(x, key)) * self.factor(key);
        Self::narrow(f32::from_bits(magnitude.to_bits() | Self::sign(x)))
    }
}

/// Work that is the same for every format; `N` is the block size.
pub(crate) trait FormatTask {
    /// What the work returns.
    type Output;

    /// Does it. `formats` has one entry, or one for every index of the leading axis.
    fn run<F: Format, const N: usize>(self, formats: &[F]) -> Self::Output;
}

/// Runs `task` for `scheme`, with the global scales where the scheme has them.
pub(crate) fn with_format<W: FormatTask>(
    scheme: &Fp4Scheme,
    global_scales: &[f32],
    task: W,
) -> W::Output {
    match *scheme {
        Fp4Scheme::Mxfp4 { scale_rule } => task.run::<_, 32>(&[Mx::new(scale_rule)]),
        Fp4Scheme::Nvfp4 {
            scale_rule,
            block_size,
            ..
        } => {
            let of = |&global_scale| Nv::new(scale_rule, global_scale);
            let formats: Vec<Nv> = global_scales.iter().map(of).collect();
            match block_size {
                Nvfp4BlockSize::Sixteen => task.run::<_, 16>(&formats),
                Nvfp4BlockSize::ThirtyTwo => task.run::<_, 32>(&formats),
            }
        }
    }
}

/// Squared error of a block in units of the grid.
///
/// Eight partial sums, then a fixed tree: the same bits with every instruction set.
#[inline(always)]
fn squared_error<const N: usize>(block: &[f32; N], normalize: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0f32; 8];
    for values in block.as_chunks::<8>().0 {
        for (sum, &x) in sums.iter_mut().zip(values) {
            let y = normalize(x);
            let error = y - crate::codec::e2m1::round_magnitude(y);
            *sum += error * error;
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

#[cfg(test)]
mod tests;
