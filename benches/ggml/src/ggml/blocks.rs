//! ggml's block of MXFP4: the scale byte, then 16 bytes with elements `i` and `i + 16` in byte `i`.

/// Elements of a block.
const BLOCK: usize = 32;

/// The blocks of one matrix from its codes, two neighbours in a byte, and its scale bytes.
pub fn mxfp4([codes, scales]: [&[u8]; 2]) -> Vec<u8> {
    let mut blocks = Vec::with_capacity(codes.len() + scales.len());
    for (codes, scale) in codes.chunks_exact(BLOCK / 2).zip(scales) {
        let code = |i: usize| codes[i / 2] >> (4 * (i % 2)) & 0xf;
        blocks.push(*scale);
        blocks.extend((0..BLOCK / 2).map(|i| code(i) | code(i + BLOCK / 2) << 4));
    }
    blocks
}
