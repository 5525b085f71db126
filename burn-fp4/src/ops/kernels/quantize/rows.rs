use cubecl::prelude::*;

use super::{BYTES_PER_WORD, CODES_PER_WORD, code};
use crate::ops::kernels::block_amax::block_amax;
use crate::ops::kernels::block_scale::block_scale;
use crate::ops::kernels::e2m1_rounding::Grid;
use crate::ops::kernels::float_words::FloatWords;
use crate::ops::kernels::format::KernelFormat;
use crate::ops::kernels::rows::{
    RowSplit, Rows, block_max, blocks_at_a_time, first_block, share_position,
};

/// Packing where the elements of a block are neighbours.
///
/// A unit has whole words of codes. Where planes exchange values it has one word of each of
/// `split.in_flight` blocks, all loads of which are under way at once, and four neighbouring blocks
/// put their scale bytes together; else it has four neighbouring blocks, one after the other.
///
/// # Shapes
///
/// - codes: `[n_blocks * block_size / 8]` words
/// - scales: `[n_blocks / 4]` words, rounded up
#[cube(launch_unchecked, address_type = "dynamic")]
pub(crate) fn quantize_rows<N: Size>(
    input: &[Vector<u32, N>],
    global_scales: &[u32],
    codes: &mut [u32],
    scales: &mut [u32],
    rows: Rows,
    blocks_per_global_scale: usize,
    #[comptime] split: RowSplit,
    #[comptime] format: KernelFormat,
    #[comptime] floats: FloatWords,
) {
    let first = if comptime!(split.lanes == 1) {
        ABSOLUTE_POS * BYTES_PER_WORD
    } else {
        first_block(split)
    };
    let step = if comptime!(split.lanes == 1) {
        1usize.runtime()
    } else {
        blocks_at_a_time(split)
    };
    let mut blocks = Sequence::<Sequence<Vector<u32, N>>>::new();
    #[unroll]
    for j in 0..comptime!(split.in_flight) {
        // Units beyond the end read the last block: all must take part in what planes exchange.
        let block = min(first + j * step, rows.n_blocks - 1);
        blocks.push(load(input, &rows, block, split));
    }
    let mut bytes = 0u32;
    #[unroll]
    for j in 0..comptime!(split.in_flight) {
        let block = first + j * step;
        let vectors = blocks.index(j);
        let amax = block_max(block_amax(vectors, floats), split);
        let global_scale = global_scales[min(block, rows.n_blocks - 1) / blocks_per_global_scale];
        let scale = block_scale(amax, global_scale, format);
        let grid = Grid::new(&scale, format);
        let n_words = comptime!(format.block_size / CODES_PER_WORD / split.lanes);
        if block < rows.n_blocks {
            let word = (block * split.lanes + UNIT_POS as usize % split.lanes) * n_words;
            #[unroll]
            for w in 0..n_words {
                codes[word + w] = pack(vectors, w, &grid, floats);
            }
        }
        let byte = select(block < rows.n_blocks, scale.byte, 0u32) << (block as u32 % 4u32 * 8u32);
        if comptime!(split.lanes == 1) {
            bytes |= byte;
        } else {
            let word = join_blocks(byte, split);
            let writes = UNIT_POS as usize % comptime!(split.lanes * BYTES_PER_WORD) == 0;
            if writes && block < rows.n_blocks {
                scales[block / BYTES_PER_WORD] = word;
            }
        }
    }
    if comptime!(split.lanes == 1) && first < rows.n_blocks {
        scales[ABSOLUTE_POS] = bytes;
    }
}

/// The vectors of a block that this unit has.
#[cube]
fn load<N: Size>(
    input: &[Vector<u32, N>],
    rows: &Rows,
    block: usize,
    #[comptime] split: RowSplit,
) -> Sequence<Vector<u32, N>> {
    let first = share_position(rows, block, split);
    let mut vectors = Sequence::<Vector<u32, N>>::new();
    #[unroll]
    for v in 0..comptime!(split.vectors) {
        vectors.push(input[first + v]);
    }
    vectors
}

/// Word number `word` of the codes of neighbouring floats.
#[cube]
fn pack<N: Size>(
    vectors: &Sequence<Vector<u32, N>>,
    #[comptime] word: usize,
    grid: &Grid,
    #[comptime] floats: FloatWords,
) -> u32 {
    let size = N::value().comptime();
    let mut codes = 0u32;
    #[unroll]
    for i in 0..CODES_PER_WORD {
        let float = comptime!(word * CODES_PER_WORD + i);
        let at = comptime!(float / floats.per_word());
        let vector = vectors.index(comptime!(at / size));
        let bits = vector.extract(comptime!(at % size));
        codes |= code(bits, comptime!(float % floats.per_word()), grid, floats)
            << comptime!(i as u32 * 4);
    }
    codes
}

/// The word that holds the bytes of four neighbouring blocks, each in its place.
#[cube]
fn join_blocks(byte: u32, #[comptime] split: RowSplit) -> u32 {
    let lanes = comptime!(split.lanes as u32);
    let pair = byte | plane_shuffle_xor(byte, lanes);
    pair | plane_shuffle_xor(pair, comptime!(2 * lanes))
}
