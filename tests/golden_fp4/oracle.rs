//! Rules of other packages, from their definitions in f64; nothing here calls the codec.

/// Magnitudes of the codes 0 to 7.
const MAGNITUDES: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// Code of the nearest magnitude, ties to the even code; saturates.
pub fn ties_to_even(y: f64) -> u8 {
    // Beyond 8 only saturation is left.
    let distance = |code: u8| (MAGNITUDES[usize::from(code)] - y.min(8.0)).abs();
    let order = |a: &u8, b: &u8| {
        let nearer = distance(*a).total_cmp(&distance(*b));
        nearer.then((a % 2).cmp(&(b % 2)))
    };
    (0..8).min_by(order).unwrap()
}

/// Code of the nearest magnitude, ties to the smaller one: ModelOpt's export of MXFP4.
pub fn ties_to_zero(y: f64) -> u8 {
    let midpoints = MAGNITUDES.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0);
    midpoints.filter(|&midpoint| midpoint < y).count() as u8
}

/// Value of a code with its sign bit.
pub fn decode(code: u8) -> f64 {
    let magnitude = MAGNITUDES[usize::from(code & 7)];
    if code & 8 == 0 { magnitude } else { -magnitude }
}

/// Value of an E4M3 code without sign.
pub fn e4m3(code: u8) -> f64 {
    let (exponent, mantissa) = (i32::from(code >> 3), f64::from(code & 7));
    match exponent {
        0 => mantissa * 2f64.powi(-9),
        _ => (8.0 + mantissa) * 2f64.powi(exponent - 10),
    }
}

/// E4M3 code of the value nearest to `ratio >= 0`, ties to the even code; saturates at 448.
pub fn e4m3_code(ratio: f64) -> u8 {
    let distance = |code: u8| (e4m3(code) - ratio.min(448.0)).abs();
    let order = |a: &u8, b: &u8| {
        let nearer = distance(*a).total_cmp(&distance(*b));
        nearer.then((a % 2).cmp(&(b % 2)))
    };
    (0..0x7f).min_by(order).unwrap()
}

pub fn amax(block: &[f32]) -> f32 {
    block.iter().fold(0.0, |max, x| max.max(x.abs()))
}

/// The scale bytes that `ceil(log2(amax / 6))` gives in f32 arithmetic, two at most.
///
/// The quotient rounds, and so does the logarithm, whose last bit depends on the library: all
/// that is within one unit in the last place counts. The logarithm of a power of two is exact.
pub fn bytes_by_logarithm(amax: f32) -> Vec<u8> {
    let quotient = amax / 6.0;
    let exact = f64::from(quotient).log2();
    let logarithm = exact as f32;
    let candidates = if exact.fract() == 0.0 && 2f64.powf(exact) == f64::from(quotient) {
        vec![logarithm]
    } else {
        vec![logarithm.next_down(), logarithm, logarithm.next_up()]
    };
    let byte = |logarithm: f32| (logarithm.ceil().max(-127.0) + 127.0) as u8;
    let mut bytes: Vec<u8> = candidates.into_iter().map(byte).collect();
    bytes.dedup();
    bytes
}

/// Two codes per byte, the first in the low nibble.
pub fn pack(codes: impl Iterator<Item = u8>) -> Vec<u8> {
    let codes: Vec<u8> = codes.collect();
    let (pairs, _) = codes.as_chunks::<2>();
    pairs.iter().map(|[low, high]| low | (high << 4)).collect()
}
