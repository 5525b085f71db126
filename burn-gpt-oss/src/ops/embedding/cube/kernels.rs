use cubecl::prelude::*;

/// Rows that a unit loads at once.
const IN_FLIGHT: u32 = 4;

/// Copies rows of the weight; `n_vectors` make up a row.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(crate) fn gather<F: Float, N: Size>(
    weight: &[Vector<F, N>],
    ids: &[u32],
    output: &mut [Vector<F, N>],
    n_vectors: usize,
    vocab_size: u32,
    n_units: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= n_units {
        terminate!();
    }
    let id = known(ids[ABSOLUTE_POS / n_vectors], vocab_size) as usize;
    output[ABSOLUTE_POS] = weight[id * n_vectors + ABSOLUTE_POS % n_vectors];
}

/// An id, or the last one for what is none.
#[cube]
fn known(id: u32, vocab_size: u32) -> u32 {
    min(id, vocab_size - 1)
}

/// Finds the position of every place in the order of ids: a unit compares its id with all others.
///
/// That takes `n^2` comparisons, but neither atomic operations nor several passes. The first place of
/// an id writes what there is to know about it.
#[cube(launch_unchecked)]
pub(crate) fn sort_places<N: Size>(
    ids: &[u32],
    vectors: &[Vector<u32, N>],
    places: &mut [u32],
    starts: &mut [u32],
    counts: &mut [u32],
    n_ids: usize,
    vocab_size: u32,
) {
    if ABSOLUTE_POS >= n_ids {
        terminate!();
    }
    let id = known(ids[ABSOLUTE_POS], vocab_size);
    let mut smaller = 0u32;
    let mut equal = 0u32;
    let mut before = 0u32;
    for i in 0..n_ids / N::value() {
        let others = vectors[i];
        #[unroll]
        for j in 0..N::value() {
            let other = known(others.extract(j), vocab_size);
            let same = u32::cast_from(other == id);
            smaller += u32::cast_from(other < id);
            equal += same;
            before += select(i * N::value() + j < ABSOLUTE_POS, same, 0u32);
        }
    }
    places[(smaller + before) as usize] = ABSOLUTE_POS as u32;
    if before == 0 {
        starts[id as usize] = smaller;
        counts[id as usize] = equal;
    }
}

/// The sum of the rows at the places of every id; `n_vectors` make up a row.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn sum_rows<F: Float, N: Size>(
    rows: &[Vector<F, N>],
    places: &[u32],
    starts: &[u32],
    counts: &[u32],
    output: &mut [Vector<F, N>],
    n_vectors: usize,
    n_units: usize,
    #[define(F)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= n_units {
        terminate!();
    }
    let (id, column) = (ABSOLUTE_POS / n_vectors, ABSOLUTE_POS % n_vectors);
    let mut sum = Vector::<f32, N>::new(0.0f32);
    let count = counts[id];
    if count > 0 {
        let start = starts[id];
        let whole = count / IN_FLIGHT * IN_FLIGHT;
        for first in range_stepped(0u32, whole, IN_FLIGHT) {
            // Frequent ids have many rows: several are under way at once.
            let mut vectors = Sequence::<Vector<F, N>>::new();
            #[unroll]
            for i in 0..IN_FLIGHT {
                let row = places[(start + first + i) as usize] as usize;
                vectors.push(rows[row * n_vectors + column]);
            }
            #[unroll]
            for i in 0..comptime!(IN_FLIGHT as usize) {
                sum += Vector::<f32, N>::cast_from(*vectors.index(i));
            }
        }
        for i in whole..count {
            let row = places[(start + i) as usize] as usize;
            sum += Vector::<f32, N>::cast_from(rows[row * n_vectors + column]);
        }
    }
    output[ABSOLUTE_POS] = Vector::cast_from(sum);
}
