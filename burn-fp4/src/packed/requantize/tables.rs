//! What becomes of a byte of codes.

use super::BLOCK_BYTES;
use crate::codec::e8m0;
use crate::codec::format::{Format, Mx};
use crate::codec::nibbles;
use crate::error::Fp4Error;
use crate::packed::PackedFp4;
use crate::scheme::scale_rule::ScaleRule;
use crate::scheme::{Fp4Scheme, MXFP4_BLOCK_SIZE};

/// Values of the 16 codes.
type Values = [f32; 16];

/// What NVFP4 codes are worth, for every scale byte.
pub(super) fn values(global_scale: f32) -> Result<Vec<Values>, Fp4Error> {
    const CODES: [u8; 8] = [0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe];
    let packed = PackedFp4::from_parts_with_global(
        Fp4Scheme::nvfp4(),
        vec![256, 16],
        CODES.repeat(256),
        (0..=255).collect(),
        vec![global_scale],
    )?;
    Ok(packed.dequantize().as_chunks().0.to_vec())
}

/// New bytes for old ones, for the pairs of scale bytes that were met so far.
pub(super) struct Tables<'a> {
    values: &'a [Values],
    format: Mx,
    /// Which table belongs to an NVFP4 and an MXFP4 scale byte; 0 where there is none yet.
    slots: Vec<u16>,
    tables: Vec<[u8; 256]>,
}

impl<'a> Tables<'a> {
    pub fn new(values: &'a [Values], scale_rule: ScaleRule) -> Self {
        Self {
            values,
            format: Mx::new(scale_rule),
            slots: vec![0; 1 << 16],
            tables: vec![[0; 256]],
        }
    }

    /// Rounds whole MXFP4 blocks. Fails with the index and the value of the first element that is not finite.
    pub fn requantize(
        &mut self,
        (codes, scales): (&[u8], &[u8]),
        (codes_out, scales_out): (&mut [u8], &mut [u8]),
    ) -> Result<(), (usize, f32)> {
        let n_scales = scales.len() / scales_out.len();
        let blocks = codes.as_chunks::<BLOCK_BYTES>().0.iter();
        let blocks = blocks.zip(scales.chunks_exact(n_scales));
        let out = codes_out.as_chunks_mut().0.iter_mut().zip(scales_out);
        for (index, ((codes, scales), (codes_out, scale_out))) in blocks.zip(out).enumerate() {
            let scales = [scales[0], scales[n_scales - 1]];
            match self.block(codes, scales, codes_out) {
                Some(scale) => *scale_out = scale,
                None => {
                    let (element, value) = self.non_finite(codes, scales);
                    return Err((index * MXFP4_BLOCK_SIZE + element, value));
                }
            }
        }
        Ok(())
    }

    /// Rounds a block and returns its scale byte, or nothing if a value is not finite.
    #[inline(always)]
    fn block(
        &mut self,
        codes: &[u8; BLOCK_BYTES],
        scales: [u8; 2],
        out: &mut [u8; BLOCK_BYTES],
    ) -> Option<u8> {
        let (halves, _) = codes.as_chunks::<8>();
        let first = self.amax(&halves[0], scales[0]);
        let second = self.amax(&halves[1], scales[1]);
        if !(first.is_finite() && second.is_finite()) {
            return None;
        }
        let amax = first.max(second);
        let scale = match self.format.searches() {
            true => self.format.search(&self.decode(codes, scales), amax),
            false => self.format.scale(amax),
        };
        let byte = self.format.byte(scale);
        let out = out.as_chunks_mut::<8>().0;
        for half in [0, 1] {
            let table = self.table(scales[half], byte);
            for i in 0..8 {
                out[half][i] = table[usize::from(halves[half][i])];
            }
        }
        Some(byte)
    }

    /// The largest magnitude of half a block: the one of its largest code.
    #[inline(always)]
    fn amax(&self, codes: &[u8; 8], scale: u8) -> f32 {
        self.values[usize::from(scale)][largest_code(codes)].abs()
    }

    #[inline(always)]
    fn table(&mut self, nvfp4: u8, mxfp4: u8) -> &[u8; 256] {
        let slot = usize::from(nvfp4) << 8 | usize::from(mxfp4);
        if self.slots[slot] == 0 {
            self.add(nvfp4, mxfp4);
        }
        &self.tables[usize::from(self.slots[slot])]
    }

    #[cold]
    fn add(&mut self, nvfp4: u8, mxfp4: u8) {
        let key = e8m0::inverse(mxfp4);
        let values = self.values[usize::from(nvfp4)];
        let code = values.map(|value| self.format.code(value, key) as u8);
        // There are at most as many as pairs of bytes without the one that is NaN in E8M0.
        self.slots[usize::from(nvfp4) << 8 | usize::from(mxfp4)] = self.tables.len() as u16;
        self.tables.push(core::array::from_fn(|byte| {
            code[byte & 15] | (code[byte >> 4] << 4)
        }));
    }

    fn decode(&self, codes: &[u8; BLOCK_BYTES], scales: [u8; 2]) -> [f32; MXFP4_BLOCK_SIZE] {
        let codes = nibbles::unpack::<MXFP4_BLOCK_SIZE>(codes);
        let half = MXFP4_BLOCK_SIZE / 2;
        core::array::from_fn(|i| self.values[usize::from(scales[i / half])][usize::from(codes[i])])
    }

    #[cold]
    fn non_finite(&self, codes: &[u8; BLOCK_BYTES], scales: [u8; 2]) -> (usize, f32) {
        let values = self.decode(codes, scales);
        let index = values.iter().position(|value| !value.is_finite());
        let index = index.unwrap_or_default();
        (index, values[index])
    }
}

/// The largest of 16 codes without their signs: the highest bit that any has, then the next one among those that have it.
#[inline(always)]
fn largest_code(codes: &[u8; 8]) -> usize {
    let mut nibbles = u64::from_le_bytes(*codes);
    let mut largest = 0;
    for bit in [2, 1, 0] {
        let has_bit = (nibbles >> bit) & 0x1111_1111_1111_1111;
        if has_bit != 0 {
            largest |= 1 << bit;
            nibbles &= has_bit * 7;
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_code_of_all_is_found() {
        let mut state = 1u64;
        for shift in 0..3000u32 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // Also few codes among zeros, and zeros with signs.
            let mask = [u64::MAX, 0x8888_1888_8888_2888, 0x0000_7000_0000_0300][shift as usize % 3];
            let codes = (state & mask.rotate_left(4 * (shift / 3))).to_le_bytes();
            let expected = codes
                .iter()
                .map(|byte| (byte & 7).max((byte >> 4) & 7))
                .max();
            assert_eq!(Some(largest_code(&codes)), expected.map(usize::from));
        }
    }
}
