//! What a task of a step reads and writes: parts of a weight and of its moments, a group at a time.

use half::bf16;

use super::codec::{
    compand, expand, inverse, join24, join32, largest, random, root, root_code, scale, scale_value,
    split24, split32, stochastic,
};
use super::{MOMENT_GROUP, Masters};

/// The values of a group.
pub(super) type Group = [f32; MOMENT_GROUP];

/// A weight, with what the model lacks of it.
pub(super) enum Weights<'a> {
    F32(&'a mut [f32]),
    Split32(&'a mut [bf16], &'a mut [u16]),
    Split24(&'a mut [bf16], &'a mut [u8]),
    /// With the seed of its random bits and the number of its first element.
    Bf16(&'a mut [bf16], u32, u32),
}

impl<'a> Weights<'a> {
    pub fn bf16(
        masters: Masters,
        weight: &'a mut [bf16],
        remainder: Remainder<'a>,
        seed: u32,
    ) -> Self {
        match (masters, remainder) {
            (Masters::Split32, Remainder::U16(remainder)) => Self::Split32(weight, remainder),
            (Masters::Split24, Remainder::U8(remainder)) => Self::Split24(weight, remainder),
            _ => Self::Bf16(weight, seed, 0),
        }
    }

    /// The first elements, and the rest.
    pub fn split_at(self, n: usize) -> (Self, Self) {
        match self {
            Self::F32(weight) => {
                let (first, rest) = weight.split_at_mut(n);
                (Self::F32(first), Self::F32(rest))
            }
            Self::Split32(weight, low) => {
                let ((first, rest), (low, lows)) = (weight.split_at_mut(n), low.split_at_mut(n));
                (Self::Split32(first, low), Self::Split32(rest, lows))
            }
            Self::Split24(weight, low) => {
                let ((first, rest), (low, lows)) = (weight.split_at_mut(n), low.split_at_mut(n));
                (Self::Split24(first, low), Self::Split24(rest, lows))
            }
            Self::Bf16(weight, seed, start) => {
                let (first, rest) = weight.split_at_mut(n);
                let next = start.wrapping_add(n as u32);
                (Self::Bf16(first, seed, start), Self::Bf16(rest, seed, next))
            }
        }
    }

    #[inline(always)]
    pub fn load(&self, start: usize, n: usize, values: &mut Group) {
        let values = &mut values[..n];
        match self {
            Self::F32(weight) => values.copy_from_slice(&weight[start..start + n]),
            Self::Split32(weight, low) => {
                let parts = weight[start..][..n].iter().zip(&low[start..][..n]);
                for (value, (high, low)) in values.iter_mut().zip(parts) {
                    *value = join32(high.to_bits(), *low as i16);
                }
            }
            Self::Split24(weight, low) => {
                let parts = weight[start..][..n].iter().zip(&low[start..][..n]);
                for (value, (high, low)) in values.iter_mut().zip(parts) {
                    *value = join24(high.to_bits(), *low as i8);
                }
            }
            Self::Bf16(weight, ..) => {
                for (value, high) in values.iter_mut().zip(&weight[start..][..n]) {
                    *value = scale_value(high.to_bits());
                }
            }
        }
    }

    #[inline(always)]
    pub fn store(&mut self, start: usize, n: usize, values: &Group) {
        let values = &values[..n];
        match self {
            Self::F32(weight) => weight[start..start + n].copy_from_slice(values),
            Self::Split32(weight, low) => {
                let parts = weight[start..][..n].iter_mut();
                let parts = parts.zip(&mut low[start..][..n]);
                for (value, (high, low)) in values.iter().zip(parts) {
                    let (bits, rest) = split32(*value);
                    (*high, *low) = (bf16::from_bits(bits), rest as u16);
                }
            }
            Self::Split24(weight, low) => {
                let parts = weight[start..][..n].iter_mut();
                let parts = parts.zip(&mut low[start..][..n]);
                for (value, (high, low)) in values.iter().zip(parts) {
                    let (bits, rest) = split24(*value);
                    (*high, *low) = (bf16::from_bits(bits), rest as u8);
                }
            }
            Self::Bf16(weight, seed, first) => {
                let first = first.wrapping_add(start as u32);
                let places = weight[start..][..n].iter_mut().enumerate();
                for (value, (i, high)) in values.iter().zip(places) {
                    let random = random(*seed, first.wrapping_add(i as u32));
                    *high = bf16::from_bits(stochastic(*value, random));
                }
            }
        }
    }
}

/// Bits that weights in bfloat16 lack.
pub(super) enum Remainder<'a> {
    None,
    U8(&'a mut [u8]),
    U16(&'a mut [u16]),
}

/// A moment.
pub(super) enum Moment<'a> {
    F32(&'a mut [f32]),
    /// Codes and scales of a first moment.
    Companded(&'a mut [u8], &'a mut [bf16]),
    /// Codes and scales of the root of a second one.
    Root(&'a mut [u8], &'a mut [f32]),
}

impl<'a> Moment<'a> {
    /// The first elements, whole groups of them, and the rest.
    pub fn split_at(self, n: usize) -> (Self, Self) {
        let n_scales = n.div_ceil(MOMENT_GROUP);
        match self {
            Self::F32(values) => {
                let (first, rest) = values.split_at_mut(n);
                (Self::F32(first), Self::F32(rest))
            }
            Self::Companded(codes, scales) => {
                let ((code, codes), (scale, scales)) =
                    (codes.split_at_mut(n), scales.split_at_mut(n_scales));
                (Self::Companded(code, scale), Self::Companded(codes, scales))
            }
            Self::Root(codes, scales) => {
                let ((code, codes), (scale, scales)) =
                    (codes.split_at_mut(n), scales.split_at_mut(n_scales));
                (Self::Root(code, scale), Self::Root(codes, scales))
            }
        }
    }

    #[inline(always)]
    pub fn load(&self, start: usize, n: usize, values: &mut Group) {
        let values = &mut values[..n];
        match self {
            Self::F32(moment) => values.copy_from_slice(&moment[start..start + n]),
            Self::Companded(codes, scales) => {
                let scale = scales[start / MOMENT_GROUP].to_f32();
                for (value, code) in values.iter_mut().zip(&codes[start..][..n]) {
                    *value = expand(*code) * scale;
                }
            }
            Self::Root(codes, scales) => {
                let scale = scales[start / MOMENT_GROUP];
                for (value, code) in values.iter_mut().zip(&codes[start..][..n]) {
                    let root = root(*code) * scale;
                    *value = root * root;
                }
            }
        }
    }

    /// What is stored of values that are finite.
    #[inline(always)]
    pub fn store(&mut self, start: usize, n: usize, values: &Group) {
        let values = &values[..n];
        match self {
            Self::F32(moment) => moment[start..start + n].copy_from_slice(values),
            Self::Companded(codes, scales) => {
                let bits = scale(largest(values));
                let inverse = inverse(scale_value(bits));
                for (value, code) in values.iter().zip(&mut codes[start..][..n]) {
                    *code = compand(value * inverse);
                }
                scales[start / MOMENT_GROUP] = bf16::from_bits(bits);
            }
            Self::Root(codes, scales) => {
                let root = largest(values).sqrt();
                let inverse = inverse(root);
                for (value, code) in values.iter().zip(&mut codes[start..][..n]) {
                    *code = root_code(value.sqrt() * inverse);
                }
                scales[start / MOMENT_GROUP] = root;
            }
        }
    }
}
