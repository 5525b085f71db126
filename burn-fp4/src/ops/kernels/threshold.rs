//! Where the magnitudes of a block change their code, and what the codes stand for, in integers.
//!
//! Rounding is monotonic, so a code belongs to the numbers between two thresholds. They are made once
//! per block, exactly; after that an element needs comparisons and no arithmetic.

use cubecl::prelude::*;

use super::soft_float::{INFINITY, Magnitude, round};

/// Where magnitude code `code` begins: between which values, and whether the midpoint itself, a tie,
/// belongs to it. Code 8 stands for everything above 6.
///
/// The midpoint is `odd * 2^power`.
struct Midpoint {
    odd: u32,
    power: i32,
    inclusive: bool,
}

/// A tie goes to the even code.
const MIDPOINTS: [Midpoint; 8] = [
    midpoint(1, -2, false), // 0.25
    midpoint(3, -2, true),  // 0.75
    midpoint(5, -2, false), // 1.25
    midpoint(7, -2, true),  // 1.75
    midpoint(5, -1, false), // 2.5
    midpoint(7, -1, true),  // 3.5
    midpoint(5, 0, false),  // 5
    midpoint(3, 1, false),  // 6
];

const fn midpoint(odd: u32, power: i32, inclusive: bool) -> Midpoint {
    Midpoint {
        odd,
        power,
        inclusive,
    }
}

/// Bits of the smallest `f32` whose quotient by `unit`, rounded, has magnitude code `code`.
///
/// The quotient rounds above a midpoint `t` if it is above `t` by more than half a unit in the last
/// place, and to it or above if it is not below by more than that. So the threshold is the `f32` at
/// `unit * (t +- ulp(t) / 2)` or the next one above, and the product is exact in 50 bits.
#[cube]
pub(crate) fn threshold(unit: u32, #[comptime] code: usize) -> u32 {
    let odd = comptime!(MIDPOINTS[code - 1].odd);
    let power = comptime!(MIDPOINTS[code - 1].power);
    let inclusive = comptime!(MIDPOINTS[code - 1].inclusive);
    // Bits of `odd` after its first, and `t` as an integer of 25 bits over `2^22`.
    let width = comptime!(odd.ilog2());
    let scaled = comptime!(odd << (2 - width));

    let key = Magnitude::new(unit);
    // The product is high * 2^22 + low; the summand is half a unit in the last place.
    let (low, carry) = (key.significand & 0x3f_ffffu32, key.significand >> 22u32);
    let product = key.significand * scaled;
    let high = if comptime!(inclusive) {
        product - carry - u32::cast_from(low != 0u32)
    } else {
        product + carry
    };
    let wide = high >= 0x0400_0000u32;
    let spare = select(wide, 3i32, 2i32);
    // What is subnormal keeps fewer bits.
    let exponent = key.exponent + comptime!(power + width as i32 - 2) + spare;
    let shift = min(spare + max(1i32 - exponent, 0i32), 31i32);
    let kept = high >> u32::cast_from(shift);
    let up = if comptime!(inclusive) {
        low != 0u32 || (kept << u32::cast_from(shift)) != high
    } else {
        true.runtime()
    };
    let field = u32::cast_from(max(exponent, 1i32) - 1i32);
    let bits = (min(field, 254u32) << 23u32) + kept + u32::cast_from(up);
    // Infinity and NaN reach every threshold. Where the unit is zero, what is finite has code zero and
    // saturates unless it is zero itself.
    let of_zero = comptime!(if code == 8 { 1 } else { INFINITY });
    select(unit == 0u32, of_zero.runtime(), min(bits, INFINITY))
}

/// Bits of the product of `unit` and the value of magnitude code `code`, 1 to 7.
#[cube]
pub(crate) fn magnitude(unit: u32, #[comptime] code: usize) -> u32 {
    let odd = comptime!([1u32, 1, 3, 1, 3, 1, 3][code - 1]);
    let power = comptime!([-1i32, 0, -1, 1, 0, 2, 1][code - 1]);
    let key = Magnitude::new(unit);
    let product = key.significand * odd;
    // 24 to 26 bits become 26.
    let missing = u32::leading_zeros(product) - 6u32;
    let exponent = key.exponent + 2i32 + power - i32::cast_from(missing);
    select(unit == 0u32, 0u32, round(product << missing, exponent))
}
