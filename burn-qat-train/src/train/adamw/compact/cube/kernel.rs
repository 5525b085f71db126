use cubecl::prelude::*;

use crate::train::adamw::compact::{MOMENT_GROUP, Masters, Moments};

/// Elements of a word's worth of codes; float32 vectors have as many.
const QUAD: usize = 4;
const QUADS: usize = MOMENT_GROUP / QUAD;
/// Groups of a unit, whose first scales are one word.
pub(super) const GROUPS: usize = 2;

/// What a step does to every element; `kept` is what is left of a weight.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct Factors {
    pub beta_1: f32,
    pub beta_2: f32,
    pub bias_1: f32,
    pub bias_2: f32,
    pub epsilon: f32,
    pub learning_rate: f32,
    pub kept: f32,
    pub coefficient: f32,
}

/// A unit has two groups. Its loads are 16 bytes wide, and neighbouring units read on where it ends.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn compact_update<N: Size>(
    weight: &mut [Vector<u32, N>],
    remainder: &mut [Vector<u32, N>],
    moment_1: &mut [Vector<u32, N>],
    moment_2: &mut [Vector<u32, N>],
    scales_1: &mut [u32],
    scales_2: &mut [u32],
    grad: &[Vector<u32, N>],
    factors: Factors,
    seed: u32,
    n_units: usize,
    #[comptime] masters: Masters,
    #[comptime] moments: Moments,
) {
    if ABSOLUTE_POS >= n_units {
        terminate!();
    }
    let mut scale_1 = 0u32;
    let is_companded = comptime!(moments == Moments::Companded8);
    if comptime!(is_companded) {
        scale_1 = scales_1[ABSOLUTE_POS];
    }
    let mut new_scale_1 = 0u32;
    for half in 0..GROUPS {
        let group = ABSOLUTE_POS * GROUPS + half;
        let shift = half as u32 * 16u32;
        let old_1 = f32::reinterpret((scale_1 >> shift) << 16u32);
        let mut old_2 = 0f32;
        if comptime!(is_companded) {
            old_2 = f32::reinterpret(scales_2[group]);
        }
        let weights = load_weights(weight, remainder, group, masters);
        let firsts = load_moments(moment_1, group, old_1, false, moments);
        let seconds = load_moments(moment_2, group, old_2, true, moments);
        let mut new_weights = Sequence::<f32>::new();
        let mut new_firsts = Sequence::<f32>::new();
        let mut new_seconds = Sequence::<f32>::new();
        let mut largest_1 = 0f32;
        let mut largest_2 = 0f32;
        #[unroll]
        for q in 0..QUADS {
            let grads = grad[group * QUADS + q];
            #[unroll]
            for i in 0..QUAD {
                let e = comptime!(q * QUAD + i);
                let g = f32::reinterpret(grads.extract(i)) * factors.coefficient;
                let m = *firsts.index(e) * factors.beta_1 + g * (1.0f32 - factors.beta_1);
                let v = *seconds.index(e) * factors.beta_2 + g * g * (1.0f32 - factors.beta_2);
                let root = f32::sqrt(v / factors.bias_2) + factors.epsilon;
                let delta = m / factors.bias_1 / root;
                let w = *weights.index(e) * factors.kept - delta * factors.learning_rate;
                largest_1 = max(largest_1, f32::abs(m));
                largest_2 = max(largest_2, v);
                new_weights.push(w);
                new_firsts.push(m);
                new_seconds.push(v);
            }
        }
        store_weights(weight, remainder, &new_weights, group, seed, masters);
        let bits_1 = scale_of(largest_1);
        let root_2 = f32::sqrt(largest_2);
        let rounded_1 = f32::reinterpret(bits_1 << 16u32);
        store_moments(moment_1, &new_firsts, group, rounded_1, false, moments);
        store_moments(moment_2, &new_seconds, group, root_2, true, moments);
        new_scale_1 |= bits_1 << shift;
        if comptime!(is_companded) {
            scales_2[group] = u32::reinterpret(root_2);
        }
    }
    if comptime!(is_companded) {
        scales_1[ABSOLUTE_POS] = new_scale_1;
    }
}

/// The next bfloat16 number upwards.
#[cube]
fn scale_of(largest: f32) -> u32 {
    (u32::reinterpret(largest) + 0xffffu32) >> 16u32
}

/// Element `i` of a vector's words in 16 bits.
#[cube]
fn half_of<N: Size>(vector: Vector<u32, N>, #[comptime] i: usize) -> u32 {
    let word = vector.extract(comptime!(i / 2));
    if comptime!(i.is_multiple_of(2)) {
        word & 0xffffu32
    } else {
        word >> 16u32
    }
}

/// Element `i` of a vector's words in 8 bits.
#[cube]
fn byte_of<N: Size>(vector: Vector<u32, N>, #[comptime] i: usize) -> u32 {
    let word = vector.extract(comptime!(i / 4));
    (word >> comptime!(8 * (i % 4) as u32)) & 0xffu32
}

/// Two's complement whose highest bit is `sign`, as that in 32 bits.
#[cube]
fn extended(bits: u32, sign: u32) -> u32 {
    (bits ^ sign) - sign
}

#[cube]
fn load_weights<N: Size>(
    weight: &mut [Vector<u32, N>],
    remainder: &mut [Vector<u32, N>],
    group: usize,
    #[comptime] masters: Masters,
) -> Sequence<f32> {
    let mut values = Sequence::<f32>::new();
    if comptime!(masters == Masters::F32) {
        #[unroll]
        for q in 0..QUADS {
            let vector = weight[group * QUADS + q];
            #[unroll]
            for i in 0..QUAD {
                values.push(f32::reinterpret(vector.extract(i)));
            }
        }
    } else {
        // Eight numbers of 16 bits to a vector, sixteen of 8.
        #[unroll]
        for o in 0..comptime!(QUADS / 2) {
            let vector = weight[group * comptime!(QUADS / 2) + o];
            #[unroll]
            for i in 0..comptime!(2 * QUAD) {
                let high = half_of(vector, i) << 16u32;
                let low = low_bits(remainder, group, comptime!(o * 2 * QUAD + i), masters);
                values.push(f32::reinterpret(high + low));
            }
        }
    }
    values
}

/// What element `e` of a group lacks, as bits to add to it.
#[cube]
fn low_bits<N: Size>(
    remainder: &mut [Vector<u32, N>],
    group: usize,
    #[comptime] e: usize,
    #[comptime] masters: Masters,
) -> u32 {
    if comptime!(masters == Masters::Split24) {
        let vector = remainder[group * 2 + comptime!(e / 16)];
        extended(byte_of(vector, comptime!(e % 16)), 0x80u32) << 8u32
    } else if comptime!(masters == Masters::Split32) {
        let vector = remainder[group * 4 + comptime!(e / 8)];
        extended(half_of(vector, comptime!(e % 8)), 0x8000u32)
    } else {
        0u32.runtime()
    }
}

#[cube]
fn load_moments<N: Size>(
    moment: &mut [Vector<u32, N>],
    group: usize,
    scale: f32,
    #[comptime] is_second: bool,
    #[comptime] moments: Moments,
) -> Sequence<f32> {
    let mut values = Sequence::<f32>::new();
    if comptime!(moments == Moments::F32) {
        #[unroll]
        for q in 0..QUADS {
            let vector = moment[group * QUADS + q];
            #[unroll]
            for i in 0..QUAD {
                values.push(f32::reinterpret(vector.extract(i)));
            }
        }
    } else {
        #[unroll]
        for half in 0..2usize {
            let vector = moment[group * 2 + half];
            #[unroll]
            for i in 0..16usize {
                let code = byte_of(vector, i);
                if comptime!(is_second) {
                    let root = f32::cast_from(code) / 255.0f32 * scale;
                    values.push(root * root);
                } else {
                    let z = (f32::cast_from(code ^ 0x80u32) - 128.0f32) / 127.0f32;
                    values.push(z / (2.0f32 - f32::abs(z)) * scale);
                }
            }
        }
    }
    values
}

#[cube]
fn store_weights<N: Size>(
    weight: &mut [Vector<u32, N>],
    remainder: &mut [Vector<u32, N>],
    values: &Sequence<f32>,
    group: usize,
    seed: u32,
    #[comptime] masters: Masters,
) {
    if comptime!(masters == Masters::F32) {
        #[unroll]
        for q in 0..QUADS {
            let mut vector = Vector::<u32, N>::empty();
            #[unroll]
            for i in 0..QUAD {
                vector.insert(i, u32::reinterpret(*values.index(comptime!(q * QUAD + i))));
            }
            weight[group * QUADS + q] = vector;
        }
    } else {
        #[unroll]
        for o in 0..4usize {
            let mut highs = Vector::<u32, N>::empty();
            let mut lows = Vector::<u32, N>::empty();
            #[unroll]
            for word in 0..QUAD {
                let e = comptime!(o * 8 + word * 2);
                let a = u32::reinterpret(*values.index(e));
                let b = u32::reinterpret(*values.index(comptime!(e + 1)));
                let first = (group * MOMENT_GROUP + e) as u32;
                let high_a = high_bits(a, seed, first, masters);
                let high_b = high_bits(b, seed, first + 1u32, masters);
                highs.insert(word, high_a | (high_b << 16u32));
                let low_a = (a - (high_a << 16u32)) & 0xffffu32;
                let low_b = (b - (high_b << 16u32)) & 0xffffu32;
                lows.insert(word, low_a | (low_b << 16u32));
            }
            weight[group * 4 + o] = highs;
            if comptime!(masters == Masters::Split32) {
                remainder[group * 4 + o] = lows;
            }
        }
    }
    if comptime!(masters == Masters::Split24) {
        #[unroll]
        for half in 0..2usize {
            let mut vector = Vector::<u32, N>::empty();
            #[unroll]
            for word in 0..QUAD {
                let mut bytes = 0u32;
                #[unroll]
                for i in 0..4usize {
                    let value = *values.index(comptime!(half * 16 + word * 4 + i));
                    let bits = u32::reinterpret(value);
                    let high = (bits + 0x8000u32) >> 16u32;
                    // From 0 where the rest is the smallest, in steps of 256.
                    let low = bits - (high << 16u32) + 0x8000u32;
                    let byte = min((low + 0x80u32) >> 8u32, 255u32) ^ 0x80u32;
                    bytes |= byte << comptime!(8 * i as u32);
                }
                vector.insert(word, bytes);
            }
            remainder[group * 2 + half] = vector;
        }
    }
}

/// The bfloat16 number that the model computes with.
#[cube]
fn high_bits(bits: u32, seed: u32, counter: u32, #[comptime] masters: Masters) -> u32 {
    if comptime!(masters == Masters::Bf16) {
        (bits + (random(seed, counter) & 0xffffu32)) >> 16u32
    } else {
        (bits + 0x8000u32) >> 16u32
    }
}

#[cube]
fn random(seed: u32, counter: u32) -> u32 {
    let mut x = (counter * 0x9e37_79b9u32) ^ seed;
    x ^= x >> 16u32;
    x *= 0x7feb_352du32;
    x ^= x >> 15u32;
    x *= 0x846c_a68bu32;
    x ^ (x >> 16u32)
}

#[cube]
fn store_moments<N: Size>(
    moment: &mut [Vector<u32, N>],
    values: &Sequence<f32>,
    group: usize,
    scale: f32,
    #[comptime] is_second: bool,
    #[comptime] moments: Moments,
) {
    if comptime!(moments == Moments::F32) {
        #[unroll]
        for q in 0..QUADS {
            let mut vector = Vector::<u32, N>::empty();
            #[unroll]
            for i in 0..QUAD {
                vector.insert(i, u32::reinterpret(*values.index(comptime!(q * QUAD + i))));
            }
            moment[group * QUADS + q] = vector;
        }
    } else {
        let inverse = select(scale > 0.0f32, 1.0f32 / scale, 0.0f32);
        #[unroll]
        for half in 0..2usize {
            let mut vector = Vector::<u32, N>::empty();
            #[unroll]
            for word in 0..QUAD {
                let mut bytes = 0u32;
                #[unroll]
                for i in 0..4usize {
                    let value = *values.index(comptime!(half * 16 + word * 4 + i));
                    let code = if comptime!(is_second) {
                        u32::cast_from(f32::sqrt(value) * inverse * 255.0f32 + 0.5f32)
                    } else {
                        let y = value * inverse;
                        let z = 2.0f32 * y / (1.0f32 + f32::abs(y));
                        u32::cast_from(z * 127.0f32 + 127.5f32) - 127u32
                    };
                    bytes |= (code & 0xffu32) << comptime!(8 * i as u32);
                }
                vector.insert(word, bytes);
            }
            moment[group * 2 + half] = vector;
        }
    }
}
