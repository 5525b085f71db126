//! Golden blocks were packed from the C structs by a script and decoded by gguf 0.19 to
//! `code * scale`.

use super::*;
use crate::scheme::global_scale::GlobalScope;

const MXFP4_CODES: [u8; 16] = [
    0xaf, 0xea, 0xc9, 0x3d, 0x40, 0xd4, 0x0e, 0xd7, 0xc2, 0x71, 0x4d, 0x45, 0x4b, 0x7f, 0x87, 0x89,
];
const MXFP4_BLOCK: [u8; 17] = [
    0x76, 0x2f, 0xca, 0x1a, 0x7e, 0xd9, 0x4c, 0x5d, 0x43, 0xb0, 0x44, 0xf4, 0x7d, 0x7e, 0x80, 0x97,
    0x8d,
];
const NVFP4_CODES: [u8; 32] = [
    0xf8, 0xcc, 0x9b, 0xf5, 0x37, 0x2d, 0x9d, 0x01, 0x07, 0x82, 0x7f, 0xec, 0xad, 0x87, 0x74, 0x36,
    0x0f, 0x31, 0xbf, 0x3e, 0x5b, 0x07, 0xd9, 0x2a, 0x48, 0xef, 0x82, 0xdf, 0xab, 0xb0, 0x17, 0x83,
];
const NVFP4_BLOCK: [u8; 36] = [
    0x38, 0x69, 0x01, 0x7e, 0x78, 0x3f, 0xdc, 0x2c, 0xdb, 0x99, 0x15, 0x0f, 0xd7, 0xa0, 0x72, 0x88,
    0x4f, 0x77, 0x6c, 0x3e, 0xbf, 0x50, 0x71, 0x03, 0x9f, 0xdb, 0xae, 0x23, 0xb8, 0xa4, 0x0f, 0xbe,
    0x72, 0x18, 0x3f, 0x8d,
];

fn mxfp4(shape: &[usize], codes: Vec<u8>, scales: Vec<u8>) -> PackedFp4 {
    PackedFp4::from_parts(Fp4Scheme::mxfp4(), shape.to_vec(), codes, scales).unwrap()
}

fn nvfp4(shape: &[usize], codes: Vec<u8>, scales: Vec<u8>, global_scales: Vec<f32>) -> PackedFp4 {
    let scope = match global_scales.len() {
        1 => GlobalScope::Tensor,
        _ => GlobalScope::Expert,
    };
    let scheme = Fp4Scheme::nvfp4().with_global_scope(scope);
    PackedFp4::from_parts_with_global(scheme, shape.to_vec(), codes, scales, global_scales).unwrap()
}

#[test]
fn golden_mxfp4_block() {
    let packed = mxfp4(&[32], MXFP4_CODES.to_vec(), vec![0x76]);
    let blocks = to_mxfp4(&packed).unwrap();
    assert_eq!(blocks, StoredTensor::new([17], MXFP4_BLOCK.to_vec()));
    assert_eq!(from_mxfp4(&blocks).unwrap(), packed);
}

#[test]
fn golden_nvfp4_block() {
    let packed = nvfp4(
        &[64],
        NVFP4_CODES.to_vec(),
        vec![0x38, 0x69, 0x01, 0x7e],
        vec![0.5],
    );
    let blocks = to_nvfp4(&packed).unwrap();
    assert_eq!(blocks, StoredTensor::new([36], NVFP4_BLOCK.to_vec()));
    assert_eq!(
        from_nvfp4(&blocks, StoredTensor::scalar(0.5)).unwrap(),
        packed
    );
    let one = StoredTensor::new([1], vec![0.5]);
    assert_eq!(from_nvfp4(&blocks, one).unwrap(), packed);
}

/// More blocks than a task has, element by element from the definition.
#[test]
fn many_blocks() {
    let code = |i: usize| ((i * i + i / 7) % 16) as u8;
    let (rows, len) = (3, 64 * 1500);
    let codes: Vec<u8> = (0..rows * len / 2)
        .map(|i| code(2 * i) | code(2 * i + 1) << 4)
        .collect();
    let scale = |i: usize| (i % 0x7f) as u8;

    let packed = mxfp4(
        &[rows, len],
        codes.clone(),
        (0..rows * len / 32).map(scale).collect(),
    );
    let blocks = to_mxfp4(&packed).unwrap();
    assert_eq!(blocks.shape, [rows, len / 32 * 17]);
    for (i, block) in blocks.data.chunks(17).enumerate() {
        assert_eq!(block[0], scale(i));
        for j in 0..16 {
            assert_eq!(block[1 + j], code(32 * i + j) | code(32 * i + j + 16) << 4);
        }
    }
    assert_eq!(from_mxfp4(&blocks).unwrap(), packed);

    let scales = (0..rows * len / 16).map(scale).collect();
    let packed = nvfp4(&[rows, len], codes, scales, vec![1.0, 2.0, 3.0]);
    let blocks = to_nvfp4(&packed).unwrap();
    assert_eq!(blocks.shape, [rows, len / 64 * 36]);
    for (i, block) in blocks.data.chunks(36).enumerate() {
        for s in 0..4 {
            assert_eq!(block[s], scale(4 * i + s));
            for j in 0..8 {
                let first = 64 * i + 16 * s + j;
                assert_eq!(block[4 + 8 * s + j], code(first) | code(first + 8) << 4);
            }
        }
    }
    let global_scales = StoredTensor::new([3], vec![1.0, 2.0, 3.0]);
    assert_eq!(from_nvfp4(&blocks, global_scales).unwrap(), packed);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let nan = mxfp4(&[2, 32], vec![0; 32], vec![254, 255]);
    let error = to_mxfp4(&nan).unwrap_err();
    assert_eq!(
        error,
        Fp4Error::ScaleByte {
            index: 1,
            byte: 255
        }
    );
    for byte in [0x7f, 0x80, 0xff] {
        let packed = nvfp4(&[64], vec![0; 32], vec![1, 0x7e, byte, 0], vec![1.0]);
        let error = to_nvfp4(&packed).unwrap_err();
        assert_eq!(error, Fp4Error::ScaleByte { index: 2, byte });
        let mut block = NVFP4_BLOCK.to_vec();
        block[3] = byte;
        let error = from_nvfp4(&StoredTensor::new([36], block), StoredTensor::scalar(1.0));
        assert_eq!(error, Err(Fp4Error::ScaleByte { index: 3, byte }));
    }
    let odd = nvfp4(&[2, 48], vec![0; 48], vec![0; 6], vec![1.0]);
    let (axis, length, block_size) = (1, 48, 64);
    let error = to_nvfp4(&odd).unwrap_err();
    assert_eq!(
        error,
        Fp4Error::BlockSize {
            axis,
            length,
            block_size
        }
    );
    assert!(matches!(to_mxfp4(&odd), Err(Fp4Error::Scheme { .. })));
    assert!(matches!(to_nvfp4(&nan), Err(Fp4Error::Scheme { .. })));

    let blocks = |shape: &[usize], n_bytes| StoredTensor::new(shape, vec![0u8; n_bytes]);
    let shapes = |error| matches!(error, Fp4Error::LayoutShapes { .. });
    assert!(shapes(from_mxfp4(&blocks(&[2, 16], 32)).unwrap_err()));
    assert!(shapes(from_mxfp4(&blocks(&[], 1)).unwrap_err()));
    assert!(matches!(
        from_mxfp4(&blocks(&[2, 17], 17)),
        Err(Fp4Error::Length { .. })
    ));
    let two = StoredTensor::new([2], vec![1.0; 2]);
    assert!(shapes(
        from_nvfp4(&blocks(&[3, 36], 108), two.clone()).unwrap_err()
    ));
    assert!(from_nvfp4(&blocks(&[2, 36], 72), two).is_ok());
    assert!(from_mxfp4(&blocks(&[0, 17], 0)).is_ok());
}
