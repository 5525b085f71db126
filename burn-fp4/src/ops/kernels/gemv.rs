//! Products of a few rows with a packed weight.

use cubecl::prelude::*;

use super::float_words::{FloatWords, join, narrow_sum, widen};
use super::format::KernelFormat;
use super::packed_weight::{PackedWeight, block_factor, decode, expert_of, lift, row_cube};

/// The geometry of the rows.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct GemvRows {
    pub n_rows: usize,
    /// Vectors of words from one row to the next.
    pub pitch: usize,
    /// Words from one row of the output to the next.
    pub output_pitch: usize,
}

/// The division of the work; every product is a comptime number of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GemvSplit {
    /// Units that share an output, neighbours; a power of two.
    pub lanes: usize,
    /// Units of a cube.
    pub units: usize,
    /// Outputs that a unit has at a time, whole words of them.
    pub outputs: usize,
    /// Rows that a unit has at a time.
    pub rows: usize,
    /// Whether the lanes are of one plane and can exchange values.
    pub planes: bool,
    /// Whether every row has an expert of its own.
    pub indexed: bool,
}

impl GemvSplit {
    /// Numbers that go through shared memory at a time.
    const fn shared(self) -> usize {
        if self.planes || self.lanes == 1 {
            1
        } else {
            self.units
        }
    }
}

/// Rows times transposed weight.
///
/// The units of an output take turns at its vectors of codes, so that neighbours read neighbouring
/// ones, and add up what they have at the end. A unit loads the codes of `split.outputs` outputs
/// before it needs the first; a code is decoded once for all rows. Codes are multiplied as they are and
/// their sum by the block scale.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(crate) fn gemv<C: Size, X: Size>(
    input: &[Vector<u32, X>],
    experts: &[u32],
    codes: &[Vector<u32, C>],
    scales: &[u32],
    global_scales: &[u32],
    output: &mut [u32],
    rows: GemvRows,
    weight: PackedWeight,
    #[comptime] split: GemvSplit,
    #[comptime] format: KernelFormat,
    #[comptime] floats: FloatWords,
) {
    let lane = UNIT_POS as usize % split.lanes;
    let groups = comptime!(split.units / split.lanes);
    let group = CUBE_POS_X as usize * groups + UNIT_POS as usize / split.lanes;
    let first_output = group * split.outputs;
    let first_row = row_cube() * split.rows;
    let row = min(first_row, rows.n_rows - 1);
    let expert = expert_of(experts, row, &weight, split.indexed);

    // Those beyond the end do the last ones again: all must take part in what units exchange.
    let mut weight_rows = Sequence::<usize>::new();
    let mut globals = Sequence::<u32>::new();
    #[unroll]
    for j in 0..comptime!(split.outputs) {
        let row = expert * weight.d_output + min(first_output + j, weight.d_output - 1);
        weight_rows.push(row);
        globals.push(global_scales[row / weight.rows_per_global_scale]);
    }
    let mut input_rows = Sequence::<usize>::new();
    #[unroll]
    for r in 0..comptime!(split.rows) {
        input_rows.push(min(first_row + r, rows.n_rows - 1) * rows.pitch);
    }

    let mut sums = Array::<f32>::new(comptime!(split.outputs * split.rows));
    #[unroll]
    for i in 0..comptime!(split.outputs * split.rows) {
        sums[i] = 0.0f32;
    }
    let vectors = weight.d_input / (8 * C::value());
    for vector in range_stepped(lane, vectors, split.lanes) {
        let mut words = Sequence::<Vector<u32, C>>::new();
        let mut factors = Sequence::<Sequence<f32>>::new();
        #[unroll]
        for j in 0..comptime!(split.outputs) {
            let row = *weight_rows.index(j);
            words.push(codes[row * weight.code_pitch + vector]);
            factors.push(vector_factors::<C>(
                scales,
                *globals.index(j),
                &weight,
                row,
                vector,
                format,
            ));
        }
        add_vector::<C, X>(
            input,
            &input_rows,
            vector,
            &words,
            &factors,
            &mut sums,
            split,
            format,
            floats,
        );
    }
    write(
        &sums,
        output,
        lane,
        first_output,
        first_row,
        &rows,
        &weight,
        split,
        floats,
    );
}

/// Words with the same block scale, of a vector of `width`.
const fn words_of_a_block(width: usize, block_size: usize) -> usize {
    let words = block_size / 8;
    if words < width { words } else { width }
}

/// The factors of the blocks in a vector of codes.
#[cube]
fn vector_factors<C: Size>(
    scales: &[u32],
    global_scale: u32,
    weight: &PackedWeight,
    row: usize,
    vector: usize,
    #[comptime] format: KernelFormat,
) -> Sequence<f32> {
    let width = C::value();
    let words = comptime!(words_of_a_block(width, format.block_size));
    let first = vector * C::value() * 8 / format.block_size;
    let mut factors = Sequence::<f32>::new();
    #[unroll]
    for i in 0..comptime!(width / words) {
        factors.push(block_factor(
            scales,
            global_scale,
            weight,
            row,
            first + i,
            format,
        ));
    }
    factors
}

/// Adds the products of a vector of codes, for all rows and outputs of a unit.
#[cube]
#[allow(clippy::too_many_arguments)]
fn add_vector<C: Size, X: Size>(
    input: &[Vector<u32, X>],
    input_rows: &Sequence<usize>,
    vector: usize,
    words: &Sequence<Vector<u32, C>>,
    factors: &Sequence<Sequence<f32>>,
    sums: &mut Array<f32>,
    #[comptime] split: GemvSplit,
    #[comptime] format: KernelFormat,
    #[comptime] floats: FloatWords,
) {
    let width = C::value();
    let block_words = comptime!(words_of_a_block(width, format.block_size));
    let x_width = X::value();
    let x_vectors = comptime!(8 / floats.per_word() / x_width);
    let mut partial = Array::<f32>::new(comptime!(split.outputs * split.rows));
    #[unroll]
    for w in 0..comptime!(width) {
        let mut values = Sequence::<Sequence<f32>>::new();
        #[unroll]
        for j in 0..comptime!(split.outputs) {
            values.push(decode(words.index(j).extract(w), format.arithmetic));
        }
        #[unroll]
        for r in 0..comptime!(split.rows) {
            let first = *input_rows.index(r) + (vector * width + w) * x_vectors;
            let x = load_eight::<X>(input, first, floats);
            #[unroll]
            for j in 0..comptime!(split.outputs) {
                let i = comptime!(r * split.outputs + j);
                let product = dot(&x, values.index(j));
                if comptime!(w % block_words == 0) {
                    partial[i] = product;
                } else {
                    partial[i] += product;
                }
                if comptime!(w % block_words == block_words - 1) {
                    let factor = *factors.index(j).index(comptime!(w / block_words));
                    let lifted = partial[i] * comptime!(lift(format.arithmetic));
                    sums[i] = fma(lifted, factor, sums[i]);
                }
            }
        }
    }
}

/// Eight neighbouring floats.
#[cube]
fn load_eight<X: Size>(
    input: &[Vector<u32, X>],
    first: usize,
    #[comptime] floats: FloatWords,
) -> Sequence<f32> {
    let width = X::value();
    let mut values = Sequence::<f32>::new();
    #[unroll]
    for v in 0..comptime!(8 / floats.per_word() / width) {
        let vector = input[first + v];
        #[unroll]
        for w in 0..X::value() {
            #[unroll]
            for i in 0..comptime!(floats.per_word()) {
                values.push(f32::reinterpret(widen(vector.extract(w), i, floats)));
            }
        }
    }
    values
}

#[cube]
fn dot(a: &Sequence<f32>, b: &Sequence<f32>) -> f32 {
    let mut sum = *a.index(0usize) * *b.index(0usize);
    #[unroll]
    for i in 1..8usize {
        sum = fma(*a.index(i), *b.index(i), sum);
    }
    sum
}

/// Adds up what the lanes have and writes it, whole words at a time.
#[cube]
#[allow(clippy::too_many_arguments)]
fn write(
    sums: &Array<f32>,
    output: &mut [u32],
    lane: usize,
    first_output: usize,
    first_row: usize,
    rows: &GemvRows,
    weight: &PackedWeight,
    #[comptime] split: GemvSplit,
    #[comptime] floats: FloatWords,
) {
    let per_word = comptime!(floats.per_word());
    let mut shared = Shared::<[f32]>::new_slice(comptime!(split.shared()));
    #[unroll]
    for r in 0..comptime!(split.rows) {
        let first = (first_row + r) * rows.output_pitch + first_output / per_word;
        #[unroll]
        for w in 0..comptime!(split.outputs / per_word) {
            let low = sums[comptime!(r * split.outputs + w * per_word)];
            let low = sum_of_lanes(low, &mut shared, lane, split);
            let mut word = narrow_sum(low, floats);
            if comptime!(per_word == 2) {
                let high = sums[comptime!(r * split.outputs + 2 * w + 1)];
                let high = sum_of_lanes(high, &mut shared, lane, split);
                word = join(word, narrow_sum(high, floats));
            }
            let inside =
                first_row + r < rows.n_rows && first_output + w * per_word < weight.d_output;
            if lane == 0 && inside {
                output[first + w] = word;
            }
        }
    }
}

/// The sum of the values of an output's units, in the first of them at least.
#[cube]
fn sum_of_lanes(
    value: f32,
    shared: &mut Shared<[f32]>,
    lane: usize,
    #[comptime] split: GemvSplit,
) -> f32 {
    let mut sum = value;
    if comptime!(split.lanes > 1 && split.planes) {
        #[unroll]
        for step in 0..comptime!(split.lanes.ilog2()) {
            sum += plane_shuffle_xor(sum, comptime!(1u32 << step));
        }
    } else if comptime!(split.lanes > 1) {
        sync_cube();
        shared[UNIT_POS as usize] = value;
        sync_cube();
        sum = 0.0f32;
        let first = UNIT_POS as usize - lane;
        #[unroll]
        for i in 0..comptime!(split.lanes) {
            sum += shared[first + i];
        }
    }
    sum
}
