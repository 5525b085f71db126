//! The global scales of NVFP4.

use cubecl::prelude::*;

use super::arithmetic::Arithmetic;
use super::soft_float::divide;

/// Global scales from largest magnitudes: `amax / divisor`; `divisor` holds the bits of 6 times the
/// largest block scale.
#[cube(launch_unchecked)]
pub(crate) fn global_scales(
    amax: &[u32],
    scales: &mut [u32],
    n_scales: usize,
    #[comptime] divisor: u32,
    #[comptime] arithmetic: Arithmetic,
) {
    if ABSOLUTE_POS >= n_scales {
        terminate!();
    }
    let bits = amax[ABSOLUTE_POS];
    let quotient = match arithmetic {
        Arithmetic::Float => {
            u32::reinterpret(f32::reinterpret(bits) / f32::reinterpret(divisor.runtime()))
        }
        Arithmetic::Integer => divide(bits, divisor.runtime()),
    };
    // What underflows becomes the smallest subnormal number; a sign is that of zero.
    let magnitude = bits & 0x7fff_ffffu32;
    scales[ABSOLUTE_POS] = select(magnitude == 0u32, 0u32, max(quotient, 1u32));
}
