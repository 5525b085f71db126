//! Codes and scales, apart and interleaved.

use crate::parallel::for_each;

/// Blocks per task.
const CHUNK: usize = 1 << 10;

/// Blocks of `SCALES` scales and as many groups of `BYTES` code bytes.
pub(super) fn to_blocks<const SCALES: usize, const BYTES: usize>(
    codes: &[u8],
    scales: &[u8],
) -> Vec<u8> {
    let mut blocks = vec![0; codes.len() + scales.len()];
    let packed = codes.chunks(CHUNK * SCALES * BYTES);
    let packed = packed.zip(scales.chunks(CHUNK * SCALES));
    let chunks = blocks.chunks_mut(CHUNK * SCALES * (1 + BYTES));
    for_each(chunks.zip(packed), |(blocks, (codes, scales))| {
        let packed = codes.chunks_exact(SCALES * BYTES);
        let packed = packed.zip(scales.as_chunks::<SCALES>().0);
        let blocks = blocks.chunks_exact_mut(SCALES * (1 + BYTES));
        for (block, (codes, scales)) in blocks.zip(packed) {
            let (head, groups) = block.split_at_mut(SCALES);
            head.copy_from_slice(scales);
            let groups = groups.as_chunks_mut::<BYTES>().0;
            for (group, codes) in groups.iter_mut().zip(codes.as_chunks::<BYTES>().0) {
                *group = to_halves(codes);
            }
        }
    });
    blocks
}

/// Codes and scales of blocks.
pub(super) fn from_blocks<const SCALES: usize, const BYTES: usize>(
    blocks: &[u8],
) -> (Vec<u8>, Vec<u8>) {
    let n_scales = blocks.len() / (1 + BYTES);
    let (mut codes, mut scales) = (vec![0; n_scales * BYTES], vec![0; n_scales]);
    let packed = codes.chunks_mut(CHUNK * SCALES * BYTES);
    let packed = packed.zip(scales.chunks_mut(CHUNK * SCALES));
    let chunks = blocks.chunks(CHUNK * SCALES * (1 + BYTES));
    for_each(chunks.zip(packed), |(blocks, (codes, scales))| {
        let packed = codes.chunks_exact_mut(SCALES * BYTES);
        let packed = packed.zip(scales.as_chunks_mut::<SCALES>().0);
        let blocks = blocks.chunks_exact(SCALES * (1 + BYTES));
        for (block, (codes, scales)) in blocks.zip(packed) {
            let (head, groups) = block.split_at(SCALES);
            scales.copy_from_slice(head);
            let groups = groups.as_chunks::<BYTES>().0;
            for (group, codes) in groups.iter().zip(codes.as_chunks_mut::<BYTES>().0) {
                *codes = from_halves(group);
            }
        }
    });
    (codes, scales)
}

/// From neighbours in a byte to elements of both halves in a byte.
#[inline]
fn to_halves<const BYTES: usize>(codes: &[u8; BYTES]) -> [u8; BYTES] {
    let mut group = [0; BYTES];
    let (first, second) = codes.split_at(BYTES / 2);
    for (pair, (&a, &b)) in group
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .zip(first.iter().zip(second))
    {
        *pair = [(a & 0xf) | (b << 4), (a >> 4) | (b & 0xf0)];
    }
    group
}

/// The inverse of [`to_halves`].
#[inline]
fn from_halves<const BYTES: usize>(group: &[u8; BYTES]) -> [u8; BYTES] {
    let mut codes = [0; BYTES];
    let (first, second) = codes.split_at_mut(BYTES / 2);
    let halves = first.iter_mut().zip(second);
    for ((a, b), &[even, odd]) in halves.zip(group.as_chunks::<2>().0) {
        *a = (even & 0xf) | (odd << 4);
        *b = (even >> 4) | (odd & 0xf0);
    }
    codes
}
