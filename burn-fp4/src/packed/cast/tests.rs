//! The cast against what the bytes mean, in f64.

use half::bf16;

use super::*;
use crate::codec::e2m1;
use crate::codec::e4m3;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::scheme::global_scale::GlobalAmax;

/// Every code twice, in an order that tells nibbles and halves apart.
const ALL_CODES: [u8; 16] = [
    0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, //
    0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
];

fn mxfp4(codes: &[[u8; 16]], scales: &[u8]) -> PackedFp4 {
    let shape = vec![scales.len(), 32];
    PackedFp4::from_parts(Fp4Scheme::mxfp4(), shape, codes.concat(), scales.to_vec()).unwrap()
}

fn bits(packed: &PackedFp4) -> Vec<u32> {
    packed.dequantize().iter().map(|x| x.to_bits()).collect()
}

/// The value of every element as the two formats define it.
fn values(packed: &PackedFp4) -> Vec<f64> {
    let block_size = packed.scheme().block_size();
    let value = |i: usize| {
        let code = packed.codes()[i / 2] >> (4 * (i % 2)) & 0xf;
        let byte = packed.scales()[i / block_size];
        let scale = match packed.global_scales() {
            [] => 2f64.powi(i32::from(byte) - 127),
            [scale] => f64::from(e4m3::decode(byte)) * f64::from(*scale),
            _ => unreachable!(),
        };
        f64::from(e2m1::decode(code)) * scale
    };
    (0..packed.n_elements()).map(value).collect()
}

/// The code nearest to `y`, a tie to the even one, with the sign of `y`.
fn nearest_code(y: f64) -> u8 {
    let distance = |code: &u8| (f64::from(e2m1::VALUES[usize::from(*code)]) - y.abs()).abs();
    let order = |a: &u8, b: &u8| {
        distance(a)
            .total_cmp(&distance(b))
            .then((a % 2).cmp(&(b % 2)))
    };
    (0..8u8).min_by(order).unwrap() | u8::from(y.is_sign_negative()) << 3
}

/// For every largest scale byte: all codes with every scale byte up to it.
#[test]
fn every_code_with_every_scale_byte() {
    for largest in 0..=254u8 {
        let scales: Vec<u8> = (0..=largest).rev().collect();
        let packed = mxfp4(&vec![ALL_CODES; scales.len()], &scales);
        let (cast, report) = packed.cast_to_nvfp4(GlobalScope::Tensor).unwrap();
        assert_eq!(cast.scheme(), Fp4Scheme::nvfp4());
        assert_eq!(cast.shape(), packed.shape());
        let m = (i32::from(largest) - 127 - 8).max(-126);
        assert_eq!(f64::from(cast.global_scales()[0]), 2f64.powi(m));

        let n_exact = scales
            .len()
            .min(18)
            .max(if m == -126 { scales.len() } else { 0 });
        assert_eq!((report.n_blocks, report.n_exact), (scales.len(), n_exact));
        assert_eq!(report.n_changed, scales.len() - n_exact);
        assert_eq!(bits(&cast)[..32 * n_exact], bits(&packed)[..32 * n_exact]);
        assert_eq!(cast.codes()[..16 * n_exact], packed.codes()[..16 * n_exact]);

        let step = 2f64.powi(m - 9);
        let old = values(&packed);
        for (i, (&old, new)) in old.iter().zip(values(&cast)).enumerate().skip(32 * n_exact) {
            assert_eq!(cast.scales()[i / 16], 1);
            let code = cast.codes()[i / 2] >> (4 * (i % 2)) & 0xf;
            assert_eq!(code, nearest_code(old / step), "{old:e} with 2^{m}");
            assert_eq!(new, f64::from(e2m1::decode(code)) * step);
        }
    }
}

#[test]
fn seventeen_binades_are_exact_and_eighteen_are_not() {
    for (byte, n_exact) in [(120 - 17, 2), (120 - 18, 1)] {
        let packed = mxfp4(&[ALL_CODES; 2], &[120, byte]);
        let (cast, report) = packed.cast_to_nvfp4(GlobalScope::Tensor).unwrap();
        assert_eq!(
            (report.n_exact, report.is_lossless()),
            (n_exact, n_exact == 2)
        );
        assert_eq!(bits(&cast) == bits(&packed), n_exact == 2);
        assert_eq!(cast.scales(), [0x78, 0x78, 1, 1]);
    }
}

/// Half of 1, 2, 3, 4 and 6 is in the grid: out of reach, but nothing changes.
#[test]
fn blocks_out_of_reach_may_still_keep_their_values() {
    let even = [
        0x42, 0x65, 0x07, 0xac, 0xde, 0xf0, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0x20,
    ];
    let packed = mxfp4(&[ALL_CODES, even], &[120, 102]);
    let (cast, report) = packed.cast_to_nvfp4(GlobalScope::Tensor).unwrap();
    assert_eq!((report.n_exact, report.n_changed), (1, 0));
    assert_eq!(bits(&cast), bits(&packed));
    assert_eq!(cast.codes()[16..19], [0x21, 0x43, 0x05]);
    assert_eq!(
        report.to_string(),
        "1 of 2 blocks exact, 1 rounded anew, 0 changed in value"
    );
}

/// The largest scale byte is that of a block of zeros: it costs nothing.
#[test]
fn blocks_of_zeros_are_exact() {
    let zeros = [0x80; 16];
    let packed = mxfp4(&[zeros, ALL_CODES, ALL_CODES, zeros], &[200, 120, 103, 0]);
    let (cast, report) = packed.cast_to_nvfp4(GlobalScope::Tensor).unwrap();
    assert_eq!((report.n_exact, report.n_changed), (4, 0));
    assert_eq!(cast.global_scales(), [2f32.powi(120 - 127 - 8)]);
    assert_eq!(cast.scales(), [0x78, 0x78, 0x78, 0x78, 1, 1, 1, 1]);
    assert_eq!(bits(&cast), bits(&packed));

    // Within reach it counts, as in ModelOpt.
    let packed = mxfp4(&[zeros, ALL_CODES], &[122, 120]);
    let (cast, report) = packed.cast_to_nvfp4(GlobalScope::Tensor).unwrap();
    assert_eq!(cast.global_scales(), [2f32.powi(122 - 127 - 8)]);
    assert_eq!(report.to_string(), "2 of 2 blocks exact");

    let packed = mxfp4(&[zeros; 2], &[0, 0]);
    let (cast, report) = packed.cast_to_nvfp4(GlobalScope::Tensor).unwrap();
    assert_eq!(
        (cast.global_scales(), report.n_exact),
        ([2f32.powi(-8)].as_slice(), 2)
    );
}

#[test]
fn every_expert_has_its_own_window() {
    let scales = vec![200, 190, 10, 12];
    let codes = [ALL_CODES; 4].concat();
    let packed = PackedFp4::from_parts(Fp4Scheme::mxfp4(), vec![2, 2, 32], codes, scales).unwrap();
    let (cast, report) = packed.cast_to_nvfp4(GlobalScope::Expert).unwrap();
    assert_eq!(
        cast.global_scales(),
        [2f32.powi(200 - 135), 2f32.powi(-123)]
    );
    assert_eq!(bits(&cast), bits(&packed));
    assert!(report.is_lossless());
    let (_, report) = packed.cast_to_nvfp4(GlobalScope::Tensor).unwrap();
    assert_eq!((report.n_exact, report.n_changed), (2, 2));
}

/// Many tasks, one block out of reach in the last of them.
#[test]
fn tasks_add_up() {
    let n_blocks = 3 * CHUNK + 5;
    let mut scales = vec![110; n_blocks];
    scales[7] = 127;
    scales[n_blocks - 1] = 100;
    let packed = mxfp4(&vec![ALL_CODES; n_blocks], &scales);
    let (cast, report) = packed.cast_to_nvfp4(GlobalScope::Tensor).unwrap();
    assert_eq!((report.n_blocks, report.n_exact), (n_blocks, n_blocks - 1));
    let n_exact = 32 * (n_blocks - 1);
    assert_eq!(bits(&cast)[..n_exact], bits(&packed)[..n_exact]);
}

#[test]
fn errors() {
    let mut scales = vec![110; 3 * CHUNK];
    scales[2 * CHUNK] = 255;
    let packed = mxfp4(&vec![ALL_CODES; 3 * CHUNK], &scales);
    let (index, byte) = (2 * CHUNK, 255);
    let error = packed.cast_to_nvfp4(GlobalScope::Tensor).unwrap_err();
    assert_eq!(error, Fp4Error::ScaleByte { index, byte });

    let packed = mxfp4(&[ALL_CODES], &[127]);
    let (cast, _) = packed.cast_to_nvfp4(GlobalScope::Tensor).unwrap();
    assert!(matches!(
        cast.cast_to_nvfp4(GlobalScope::Tensor),
        Err(Fp4Error::Scheme { .. })
    ));
    let row = PackedFp4::from_parts(Fp4Scheme::mxfp4(), vec![32], vec![0; 16], vec![0]).unwrap();
    assert_eq!(
        row.cast_to_nvfp4(GlobalScope::Expert),
        Err(Fp4Error::ExpertAxis)
    );
    let empty = PackedFp4::from_parts(Fp4Scheme::mxfp4(), vec![0, 32], vec![], vec![]).unwrap();
    assert!(empty.cast_to_nvfp4(GlobalScope::Tensor).is_ok());
    assert!(empty.cast_to_nvfp4(GlobalScope::Expert).is_ok());
}

/// What ModelOpt 0.47 makes of four blocks, the last three of them out of E4M3's reach by 0, 1 and 3
/// binades; no code is 8, whose sign it drops.
#[test]
fn golden_modelopt_cast() {
    let codes = [
        0xca, 0xc0, 0x37, 0x4a, 0x0f, 0x64, 0x69, 0x02, 0x00, 0xf2, 0xa3, 0x3c, 0x64, 0xf4, 0xe2,
        0xdc, 0x61, 0x7a, 0xaa, 0x0a, 0x3f, 0x4e, 0xe5, 0x12, 0xa5, 0xd1, 0x35, 0xe3, 0xde, 0x04,
        0xbc, 0x0c, 0x30, 0x65, 0x3e, 0x53, 0xc4, 0x52, 0x21, 0xb4, 0x79, 0xc2, 0x3c, 0x50, 0xc2,
        0x33, 0x34, 0x3f, 0x0c, 0xe5, 0x1d, 0xdd, 0x57, 0xff, 0x6a, 0xe3, 0x34, 0x3a, 0xb5, 0xa3,
        0xaf, 0x7a, 0x3f, 0xa5,
    ];
    let (blocks, _) = codes.as_chunks::<16>();
    let packed = mxfp4(blocks, &[121, 104, 103, 101]);
    let (cast, report) = packed.cast_to_nvfp4(GlobalScope::Tensor).unwrap();
    assert_eq!((report.n_blocks, report.n_exact), (4, 2));
    assert_eq!(cast.global_scales(), [2f32.powi(-14)]);
    assert_eq!(cast.scales(), [0x78, 0x78, 1, 1, 1, 1, 1, 1]);
    assert_eq!(cast.codes()[..32], codes[..32]);
    let rounded = [
        0x20, 0x43, 0x2c, 0x32, 0xa2, 0x31, 0x10, 0xa2, 0x58, 0xa1, 0x2a, 0x30, 0xa1, 0x22, 0x22,
        0x2d, 0x08, 0x91, 0x09, 0x99, 0x12, 0xaa, 0x18, 0x90, 0x00, 0x08, 0x81, 0x80, 0x8a, 0x28,
        0x0a, 0x81,
    ];
    assert_eq!(cast.codes()[32..], rounded);
}

/// The published export of one block: rounding, scale and global scale of NVFP4 itself.
#[test]
fn golden_nvfp4_export() {
    let values = [
        0.01, -0.02, 0.03, 0.04, -0.05, 0.06, 0.07, -0.08, //
        0.09, 0.10, 0.11, -0.12, 0.13, 0.14, 0.15, -0.16,
    ];
    let values = values.map(bf16::from_f32);
    let quantizer = SliceQuantizer::new(Fp4Scheme::nvfp4());
    let quantizer = quantizer.with_global_amax(GlobalAmax::Frozen(vec![1.0]));
    let packed = quantizer.quantize(&values, &[16], 0).unwrap();
    assert_eq!(packed.global_scales()[0].to_bits(), 0x39c3_0c31);
    assert_eq!(packed.scales(), [0x69]);
    assert_eq!(
        packed.codes(),
        [0x91, 0x32, 0x4c, 0xd5, 0x65, 0xe6, 0x76, 0xf7]
    );
}

/// Experts that are cast one after the other are those of the cast of the whole.
#[test]
fn parts_have_the_global_scale_of_the_whole() {
    let scales = [120, 131, 100, 125, 90, 131];
    let packed = mxfp4(&[ALL_CODES; 6], &scales);
    let (whole, report) = packed.cast_to_nvfp4(GlobalScope::Tensor).unwrap();
    let global_scale = packed.nvfp4_global_scale().unwrap();
    assert_eq!(whole.global_scales(), [global_scale]);
    let (mut codes, mut cast_scales, mut sum) = (vec![], vec![], CastReport::default());
    for scales in scales.chunks(2) {
        let part = mxfp4(&[ALL_CODES; 2], scales);
        let (cast, report) = part.cast_to_nvfp4_with(global_scale).unwrap();
        codes.extend_from_slice(cast.codes());
        cast_scales.extend_from_slice(cast.scales());
        sum += report;
    }
    assert_eq!(
        (codes.as_slice(), cast_scales.as_slice()),
        (whole.codes(), whole.scales())
    );
    assert_eq!(sum, report);
    for global_scale in [0.0, -1.0, 3.0, f32::NAN, f32::INFINITY, 1e-40] {
        packed.cast_to_nvfp4_with(global_scale).unwrap_err();
    }
}
