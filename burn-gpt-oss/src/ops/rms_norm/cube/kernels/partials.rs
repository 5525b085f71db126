use cubecl::prelude::*;

/// Sums each of `columns` columns of partial sums with every cube; `shares` units share a column.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(crate) fn sum_partials(
    partials: &[f32],
    output: &mut [f32],
    n_partials: usize,
    size: usize,
    #[comptime] columns: usize,
    #[comptime] shares: usize,
) {
    let unit = UNIT_POS as usize;
    let column = CUBE_POS * columns + unit % columns;
    let mut sum = 0.0f32;
    if column < size {
        for i in range_stepped(unit / columns, n_partials, shares) {
            sum += partials[i * size + column];
        }
    }
    if comptime!(shares > 1) {
        let mut sums = Shared::<[f32]>::new_slice(comptime!(columns * shares));
        sums[unit] = sum;
        sync_cube();
        if unit < columns {
            for i in 1..shares {
                sum += sums[i * columns + unit];
            }
        }
    }
    if unit < columns && column < size {
        output[column] = sum;
    }
}
