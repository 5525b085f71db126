use super::{Format, squared_error};
use crate::codec::e2m1;
use crate::codec::e4m3;
use crate::codec::element::private::Lane;
use crate::scheme::scale_rule::Nvfp4ScaleRule;

/// NVFP4: the scale is an E4M3 value, relative to the global scale.
#[derive(Clone, Copy)]
pub(crate) struct Nv {
    rule: Nvfp4ScaleRule,
    global_scale: f32,
    /// `6 * global_scale`: a block of this magnitude has scale 1.
    six: f32,
}

impl Nv {
    pub fn new(rule: Nvfp4ScaleRule, global_scale: f32) -> Self {
        Self {
            rule,
            global_scale,
            six: e2m1::MAX * global_scale,
        }
    }

    #[inline(always)]
    fn error<const N: usize>(self, block: &[f32; N], scale: f32) -> f32 {
        let key = self.key(scale);
        // Zero is on every grid: a scale whose product underflows is never the better one.
        if key == 0.0 {
            return f32::INFINITY;
        }
        let unit = self.unit(scale, key);
        squared_error(block, |x| self.normalize(x, key)) * (unit * unit)
    }

    /// What a scale is worth relative to the others; subnormal products round too coarsely to be in
    /// proportion to it.
    #[inline(always)]
    fn unit(self, scale: f32, key: f32) -> f32 {
        if key < f32::MIN_POSITIVE {
            key / self.global_scale
        } else {
            scale
        }
    }

    /// The better of the scales that bring `amax` to 6 and to 4.
    #[inline(always)]
    fn four_over_six<const N: usize>(self, block: &[f32; N], amax: f32) -> f32 {
        let (six, four) = (self.scale(amax), self.scale(amax * 1.5));
        if self.error(block, four) < self.error(block, six) {
            four
        } else {
            six
        }
    }

    /// The first scale with the least error of all positive ones.
    #[inline(always)]
    fn sweep<const N: usize>(self, block: &[f32; N], amax: f32) -> f32 {
        let start = self.scale(amax);
        let mut best = (start, self.error(block, start));
        let first = e4m3::code_of(start);
        // Downwards the largest element is clipped more and more; its error alone is a bound.
        for code in (1..first).rev() {
            let scale = e4m3::decode_bits(code);
            let key = self.key(scale);
            let clipped = (self.normalize(amax, key) - e2m1::MAX) * self.unit(scale, key);
            if clipped > 0.0 && clipped * clipped > best.1 {
                break;
            }
            let error = self.error(block, scale);
            if error <= best.1 {
                best = (scale, error);
            }
        }
        // Upwards the grid gets coarser until everything is zero.
        for code in first + 1..u32::from(e4m3::NAN) {
            let scale = e4m3::decode_bits(code);
            let error = self.error(block, scale);
            if error < best.1 {
                best = (scale, error);
            }
            if self.normalize(amax, self.key(scale)) <= 0.25 {
                break;
            }
        }
        best.0
    }
}

impl Format for Nv {
    #[inline(always)]
    fn searches(self) -> bool {
        self.rule != Nvfp4ScaleRule::Nearest
    }

    #[inline(always)]
    fn scale(self, amax: f32) -> f32 {
        let ratio = amax / self.six;
        let ratio = if amax == 0.0 { 1.0 } else { ratio };
        // Comparisons, because they are one instruction each. Rounding saturates at 448.
        let ratio = if ratio > e4m3::MIN_POSITIVE {
            ratio
        } else {
            e4m3::MIN_POSITIVE
        };
        e4m3::round_magnitude(ratio)
    }

    #[inline(always)]
    fn search<const N: usize>(self, block: &[f32; N], amax: f32) -> f32 {
        if amax == 0.0 || self.global_scale == 0.0 {
            return self.scale(amax);
        }
        match self.rule {
            Nvfp4ScaleRule::Nearest => self.scale(amax),
            Nvfp4ScaleRule::Mse => self.sweep(block, amax),
            Nvfp4ScaleRule::FourOverSix => self.four_over_six(block, amax),
        }
    }

    /// The parameter is the largest magnitude of the block. Unlike the one of a block of zeros, a
    /// learned one of zero has the smallest scale: it is on its way from somewhere.
    #[inline(always)]
    fn learned(self, _scale: f32, parameter: f32) -> f32 {
        let ratio = parameter / self.six;
        let ratio = if ratio > e4m3::MIN_POSITIVE {
            ratio
        } else {
            e4m3::MIN_POSITIVE
        };
        e4m3::round_magnitude(ratio)
    }

    /// Zero where E4M3 saturates. Below the smallest scale it is not, or no parameter would return.
    #[inline(always)]
    fn learned_slope(self, _scale: f32, parameter: f32) -> f32 {
        if parameter / self.six <= e4m3::MAX {
            1.0 / e2m1::MAX
        } else {
            0.0
        }
    }

    #[inline(always)]
    fn byte(self, scale: f32) -> u8 {
        e4m3::code_of(scale) as u8
    }

    #[inline(always)]
    fn key(self, scale: f32) -> f32 {
        scale * self.global_scale
    }

    #[inline(always)]
    fn normalize(self, x: f32, key: f32) -> f32 {
        (x / key).abs()
    }

    #[inline(always)]
    fn factor(self, key: f32) -> f32 {
        key
    }

    /// `-0.0` counts as positive: the sign is that of the comparison with zero.
    #[inline(always)]
    fn sign(x: f32) -> u32 {
        if x == 0.0 {
            0
        } else {
            x.to_bits() & 0x8000_0000
        }
    }

    #[inline(always)]
    fn code(self, x: f32, key: f32) -> u32 {
        // All is zero where the key is.
        let key = if key == 0.0 { f32::INFINITY } else { key };
        e2m1::magnitude_code(self.normalize(x, key)) | (Self::sign(x) >> 28)
    }

    #[inline(always)]
    fn factor_of_byte(self, byte: u8) -> f32 {
        e4m3::decode(byte) * self.global_scale
    }

    #[inline(always)]
    fn narrow<T: Lane>(value: f32) -> T {
        T::round(value)
    }
}
