//! What one global scale reaches.

use rayon::prelude::*;

use super::{BLOCK_BYTES, CHUNK, CastReport};
use crate::codec::e2m1;
use crate::codec::e4m3;

/// Exponents of the smallest and of the largest power of two in E4M3.
const E4M3_EXPONENTS: (i32, i32) = (-9, 8);
/// Bias of E8M0.
const BIAS: i32 = 127;
/// Exponent of the smallest normal `f32`.
const MIN_EXPONENT: i32 = -126;
/// From this shift on every code becomes zero.
const LAST_SHIFT: u8 = 5;

/// The scale bytes that one global scale reaches, and what becomes of them.
pub(super) struct Window {
    global_scale: f32,
    /// The smallest scale byte that has an exact counterpart.
    lowest: u8,
    /// E4M3 byte for every E8M0 byte, the nearest one if there is none.
    bytes: [u8; 256],
}

impl Window {
    /// The window for these blocks, none of them with a scale that is NaN.
    pub fn of(codes: &[u8], scales: &[u8]) -> Self {
        let k_max = largest_byte(codes, scales).map_or(0, |byte| i32::from(byte) - BIAS);
        Self::new((k_max - E4M3_EXPONENTS.1).max(MIN_EXPONENT))
    }

    /// The window of a global scale that is a normal power of two.
    pub fn of_global_scale(global_scale: f32) -> Option<Self> {
        let (bits, exponent_bits) = (global_scale.to_bits(), 23);
        let is_power = global_scale.is_normal() && bits & ((1 << exponent_bits) - 1) == 0;
        let exponent = (bits >> exponent_bits) as i32 - BIAS;
        (is_power && global_scale > 0.0).then(|| Self::new(exponent))
    }

    fn new(m: i32) -> Self {
        let byte = |byte: usize| {
            let (smallest, largest) = E4M3_EXPONENTS;
            let exponent = (byte as i32 - BIAS - m).clamp(smallest, largest);
            e4m3::encode(power_of_two(exponent))
        };
        Self {
            global_scale: power_of_two(m),
            lowest: (m + E4M3_EXPONENTS.0 + BIAS).max(0) as u8,
            bytes: core::array::from_fn(byte),
        }
    }

    pub fn global_scale(&self) -> f32 {
        self.global_scale
    }

    /// Casts blocks in place, whose E4M3 scales go to `out`.
    pub fn cast(&self, scales: &[u8], codes: &mut [u8], out: &mut [u8]) -> CastReport {
        for (pair, &byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(scales) {
            *pair = [self.bytes[usize::from(byte)]; 2];
        }
        let mut report = CastReport {
            n_blocks: scales.len(),
            n_exact: scales.len(),
            n_changed: 0,
        };
        // A minimum vectorizes, and almost always it is all there is to do.
        if scales.iter().copied().min() >= Some(self.lowest) {
            return report;
        }
        let blocks = codes.as_chunks_mut::<BLOCK_BYTES>().0;
        for (block, &byte) in blocks.iter_mut().zip(scales) {
            if byte < self.lowest && !e2m1::are_zeros(block) {
                report.n_exact -= 1;
                report.n_changed += usize::from(shift_right(block, self.lowest - byte));
            }
        }
        report
    }
}

/// The scale byte that becomes the largest power of two; none if there is nothing but zeros.
///
/// The scales decide alone where they all fit. Where they do not, a look at the codes is worth its
/// time: blocks of zeros can do with any scale.
fn largest_byte(codes: &[u8], scales: &[u8]) -> Option<u8> {
    let (smallest, largest) = range(scales);
    let reach = E4M3_EXPONENTS.0.abs_diff(E4M3_EXPONENTS.1);
    if largest > 0 && u32::from(largest - smallest) <= reach {
        return Some(largest);
    }
    let blocks = codes.as_chunks::<BLOCK_BYTES>().0.par_iter().zip(scales);
    let blocks = blocks.filter(|(block, _)| !e2m1::are_zeros(*block));
    blocks.map(|(_, &byte)| byte).max()
}

/// Smallest and largest of the bytes above 0; the largest is 0 if there are none.
fn range(scales: &[u8]) -> (u8, u8) {
    let chunks = scales.par_chunks(CHUNK * BLOCK_BYTES).map(|scales| {
        // Zero becomes the largest byte and takes no part in the minimum.
        let smallest = scales.iter().map(|byte| byte.wrapping_sub(1)).min();
        let largest = scales.iter().copied().max();
        (smallest.unwrap_or(u8::MAX), largest.unwrap_or(0))
    });
    let union = |a: (u8, u8), b: (u8, u8)| (a.0.min(b.0), a.1.max(b.1));
    let (smallest, largest) = chunks.reduce(|| (u8::MAX, 0), union);
    (smallest.wrapping_add(1), largest)
}

/// Divides the elements of a block by `2^shift`, rounding to the grid; returns whether that was
/// inexact.
#[cold]
fn shift_right(block: &mut [u8; BLOCK_BYTES], shift: u8) -> bool {
    let factor = power_of_two(-i32::from(shift.min(LAST_SHIFT)));
    let shifted: [u8; 16] = core::array::from_fn(|code| e2m1::encode(e2m1::VALUES[code] * factor));
    let exact = |code: u8| e2m1::decode(shifted[usize::from(code)]) == e2m1::decode(code) * factor;
    let mut changed = false;
    for byte in block {
        let (low, high) = (*byte & 0xf, *byte >> 4);
        changed |= !exact(low) || !exact(high);
        *byte = shifted[usize::from(low)] | shifted[usize::from(high)] << 4;
    }
    changed
}

/// `2^exponent` for normal results.
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + BIAS) as u32) << 23)
}
