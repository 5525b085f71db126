use cubecl::prelude::*;

/// Rotates one vector of the first half of a head with that of the second; `half` counts vectors.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn rotate<F: Float, N: Size>(
    x: &[Vector<F, N>],
    cos: &[Vector<F, N>],
    sin: &[Vector<F, N>],
    output: &mut [Vector<F, N>],
    heads: usize,
    n_positions: usize,
    n_units: usize,
    #[comptime] half: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= n_units {
        terminate!();
    }
    let head = ABSOLUTE_POS / half;
    let channel = ABSOLUTE_POS % half;
    // One table serves all sequences, or each has its own.
    let of_table = head / heads % n_positions * half + channel;
    let cos = Vector::<f32, N>::cast_from(cos[of_table]);
    let sin = Vector::<f32, N>::cast_from(sin[of_table]);
    let first = 2 * half * head + channel;
    let a = Vector::<f32, N>::cast_from(x[first]);
    let b = Vector::<f32, N>::cast_from(x[first + half]);
    output[first] = Vector::cast_from(a * cos - b * sin);
    output[first + half] = Vector::cast_from(b * cos + a * sin);
}
