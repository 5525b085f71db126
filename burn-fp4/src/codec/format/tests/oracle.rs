//! The definitions, in f64 and by search; nothing here calls the codec.
//!
//! NVFP4 is defined by `f32` operations (the quotients and products of scales), so its oracle does
//! these in `f32` and everything else in f64.

use crate::scheme::scale_rule::{Nvfp4ScaleRule, ScaleRule};

const MAGNITUDES: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The code below `n_codes` whose value is nearest to `y`, ties to the even code.
fn nearest(n_codes: u8, y: f64, value: impl Fn(u8) -> f64) -> u8 {
    // Above the largest value only saturation is left, and differences would lose the values.
    let y = y.min(value(n_codes - 1));
    let distance = |code: u8| (value(code) - y).abs();
    let order = |a: &u8, b: &u8| {
        let nearer = distance(*a).total_cmp(&distance(*b));
        nearer.then((a % 2).cmp(&(b % 2)))
    };
    (0..n_codes).min_by(order).unwrap()
}

/// Code of the magnitude nearest to `y >= 0`, ties to even.
pub fn e2m1(y: f64) -> u8 {
    nearest(8, y, |code| MAGNITUDES[usize::from(code)])
}

/// Value of a code with its sign bit.
pub fn e2m1_value(code: u8) -> f64 {
    let sign = if code & 8 == 0 { 1.0 } else { -1.0 };
    MAGNITUDES[usize::from(code & 7)] * sign
}

/// Value of an E4M3 code with its sign bit.
pub fn e4m3_value(code: u8) -> f64 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 0xf), f64::from(code & 7));
    let sign = if code & 0x80 == 0 { 1.0 } else { -1.0 };
    match (exponent, code & 7) {
        (15, 7) => f64::NAN,
        (0, _) => sign * mantissa * 2f64.powi(-9),
        _ => sign * (8.0 + mantissa) * 2f64.powi(exponent - 10),
    }
}

/// What `NonFinite::Saturate` makes of a block before its scale is chosen; none if nothing is left.
fn magnitudes(block: &[f32]) -> Option<Vec<f32>> {
    let finite = block.iter().filter(|x| !x.is_nan());
    let finite: Vec<f32> = finite.map(|x| x.abs().min(f32::MAX)).collect();
    let lost = finite.len() < block.len() && finite.iter().all(|&x| x == 0.0);
    (!lost).then_some(finite)
}

fn amax(magnitudes: &[f32]) -> f32 {
    magnitudes.iter().copied().fold(0.0, f32::max)
}

/// Largest `e` with `2^e <= x`.
fn floor_log2(x: f64) -> i32 {
    (-150..=128).rev().find(|&e| 2f64.powi(e) <= x).unwrap()
}

/// Exponent of an MXFP4 block for the rules that need `amax` alone.
pub fn mx_exponent(rule: ScaleRule, block: &[f32]) -> i32 {
    let Some(magnitudes) = magnitudes(block) else {
        return 0;
    };
    let amax = f64::from(amax(&magnitudes));
    if amax == 0.0 {
        return -127;
    }
    let exponent = match rule {
        ScaleRule::Ceil => (-127..128).find(|&e| amax <= 6.0 * 2f64.powi(e)).unwrap(),
        ScaleRule::Floor => floor_log2(amax) - 2,
        ScaleRule::Even => {
            let unit = 2f64.powi(floor_log2(amax));
            let halves = (amax / unit * 2.0 + 0.5).floor();
            floor_log2(halves / 2.0 * unit) - 2
        }
        ScaleRule::Mse => panic!("needs the block"),
    };
    exponent.max(-127)
}

/// Code and value of an element of an MXFP4 block.
pub fn mx_element(x: f32, exponent: i32) -> (u8, f32) {
    let scale = 2f64.powi(exponent);
    let y = if x.is_nan() {
        8.0
    } else {
        f64::from(x.abs()) / scale
    };
    let code = e2m1(y);
    let value = (e2m1_value(code) * scale) as f32;
    (
        code | u8::from(x.is_sign_negative()) << 3,
        value.copysign(x),
    )
}

/// Global scale of a largest magnitude.
pub fn global_scale(rule: Nvfp4ScaleRule, amax: f32) -> f32 {
    let largest = if rule == Nvfp4ScaleRule::FourOverSix {
        256.0
    } else {
        448.0
    };
    let scale = amax / (6.0 * largest);
    if amax > 0.0 {
        scale.max(f32::from_bits(1))
    } else {
        0.0
    }
}

/// Scale code of an NVFP4 block whose magnitude `amax` is to become 6.
pub fn nv_code_of_amax(amax: f32, global: f32) -> u8 {
    if amax == 0.0 {
        return 0x38;
    }
    let ratio = (amax / (6.0 * global)).clamp(2f32.powi(-9), 448.0);
    nearest(0x7f, ratio.into(), e4m3_value)
}

/// Scale code of an NVFP4 block under `Nearest`.
pub fn nv_code(block: &[f32], global: f32) -> u8 {
    magnitudes(block).map_or(0x38, |magnitudes| {
        nv_code_of_amax(amax(&magnitudes), global)
    })
}

/// What codes are multiplied with.
pub fn nv_key(scale: u8, global: f32) -> f32 {
    e4m3_value(scale) as f32 * global
}

/// Code and value of an element of an NVFP4 block. Zeros are positive.
pub fn nv_element(x: f32, key: f32) -> (u8, f32) {
    let code = match x.abs() / key {
        _ if !x.is_finite() => 7,
        _ if key == 0.0 || x == 0.0 => 0,
        y => e2m1(y.into()),
    };
    let value = e2m1_value(code) as f32 * key;
    if x < 0.0 || (x.is_nan() && x.is_sign_negative()) {
        (code | 8, -value)
    } else {
        (code, value)
    }
}

/// Squared error of a block in units of `unit`, with a scale that codes are multiplied with.
pub fn error(block: &[f32], scale: f64, unit: f64) -> f64 {
    let square = |x: f64| x * x;
    let of = |&x: &f32| {
        let x = f64::from(x.abs());
        let y = if scale == 0.0 { 0.0 } else { x / scale };
        square((x - e2m1_value(e2m1(y)) * scale) / unit)
    };
    block.iter().map(of).sum()
}
