//! Worked examples: scale rules side by side, and one block of each format.

use burn_fp4::{Fp4Scheme, GlobalAmax, PackedFp4, ScaleRule, SliceQuantizer, fake_quantize_slice};
use half::bf16;

/// amax, then the scale byte and the value that amax becomes, by `Ceil`, `Floor` and `Even`.
type Row = (f32, [(u8, f32); 3]);

const RULES: [ScaleRule; 3] = [ScaleRule::Ceil, ScaleRule::Floor, ScaleRule::Even];

const ROWS: [Row; 10] = [
    (1.5, [(125, 1.5), (125, 1.5), (125, 1.5)]),
    (1.507_812_5, [(126, 1.5), (125, 1.5), (125, 1.5)]),
    (1.75, [(126, 2.0), (125, 1.5), (126, 2.0)]),
    (4.0, [(127, 4.0), (127, 4.0), (127, 4.0)]),
    (5.0, [(127, 4.0), (127, 4.0), (127, 4.0)]),
    (6.0, [(127, 6.0), (127, 6.0), (127, 6.0)]),
    (6.031_25, [(128, 6.0), (127, 6.0), (127, 6.0)]),
    (7.0, [(128, 8.0), (127, 6.0), (128, 8.0)]),
    (7.5, [(128, 8.0), (127, 6.0), (128, 8.0)]),
    (0.0, [(0, 0.0), (0, 0.0), (0, 0.0)]),
];

#[test]
fn scale_rules_differ_where_the_literature_says() {
    for (amax, wanted) in ROWS {
        for (rule, (byte, value)) in RULES.into_iter().zip(wanted) {
            let scheme = Fp4Scheme::mxfp4_with(rule);
            let mut block = [0f32; 32];
            block[17] = amax;
            let packed = PackedFp4::quantize(&block, &[32], 0, scheme).unwrap();
            assert_eq!(packed.scales(), [byte], "amax {amax}, {rule}");
            let rounded = fake_quantize_slice(&block, &[32], 0, &scheme).unwrap();
            assert_eq!(rounded[17], value, "amax {amax}, {rule}");
            assert_eq!(packed.dequantize(), rounded, "amax {amax}, {rule}");
        }
    }
}

/// All midpoints with both signs: ties to even, and an IEEE sign bit.
#[test]
fn a_block_of_midpoints() {
    let values = [
        0.0, -0.0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 6.0, -0.25, -0.75, -1.25, -1.75, -2.5,
        -3.5, -5.0, -6.0, 0.1, 0.3, 0.6, 0.9, 1.1, 1.4, 1.6, 1.9, 2.2, 2.8, 3.2, 3.9, 4.9, 5.1,
    ];
    let values = values.map(bf16::from_f32);
    let wanted = [
        0x80, 0x20, 0x42, 0x64, 0x76, 0xa8, 0xca, 0xec, //
        0xfe, 0x10, 0x21, 0x32, 0x43, 0x54, 0x65, 0x76,
    ];
    for rule in RULES {
        let scheme = Fp4Scheme::mxfp4_with(rule);
        let packed = PackedFp4::quantize(&values, &[32], 0, scheme).unwrap();
        assert_eq!(packed.scales(), [127], "{rule}");
        assert_eq!(packed.codes(), wanted, "{rule}");
    }
}

/// NVFP4: the same elements at global scale 1 and block scale 1; its zeros have no sign.
#[test]
fn a_block_of_midpoints_in_nvfp4() {
    let quantizer = SliceQuantizer::new(Fp4Scheme::nvfp4());
    let quantizer = quantizer.with_global_amax(GlobalAmax::Frozen(vec![2688.0]));
    let values = [
        0.0, -0.0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 6.0, -0.25, -0.75, -1.25, -1.75, -2.5,
        -3.5, -5.0, -6.0, 0.1, 0.3, 0.6, 0.9, 1.1, 1.4, 1.6, 1.9, 2.2, 2.8, 3.2, 3.9, 4.9, 5.1f32,
    ];
    let packed = quantizer.quantize(&values, &[32], 0).unwrap();
    assert_eq!(packed.global_scales(), [1.0]);
    // The magnitude 6 of the first block and the -6 of the second: both scales are 1.
    assert_eq!(packed.scales(), [0x38, 0x38]);
    let wanted = [
        0x00, 0x20, 0x42, 0x64, 0x76, 0xa8, 0xca, 0xec, //
        0xfe, 0x10, 0x21, 0x32, 0x43, 0x54, 0x65, 0x76,
    ];
    assert_eq!(packed.codes(), wanted);
}

/// The block scale is 71.75, which E4M3 rounds to 72.
#[test]
fn a_block_of_nvfp4() {
    let values = [
        0.01, -0.02, 0.03, 0.04, -0.05, 0.06, 0.07, -0.08, 0.09, 0.10, 0.11, -0.12, 0.13, 0.14,
        0.15, -0.16,
    ];
    let values = values.map(bf16::from_f32);
    assert_eq!(values[15].to_f32(), -0.160_156_25);
    let quantizer = SliceQuantizer::new(Fp4Scheme::nvfp4());
    let quantizer = quantizer.with_global_amax(GlobalAmax::Frozen(vec![1.0]));
    let packed = quantizer.quantize(&values, &[16], 0).unwrap();
    assert_eq!(packed.global_scales()[0].to_bits(), 0x39c3_0c31);
    assert_eq!(packed.scales(), [0x69]);
    let wanted = [0x91, 0x32, 0x4c, 0xd5, 0x65, 0xe6, 0x76, 0xf7];
    assert_eq!(packed.codes(), wanted);
    // Code 1 is half of the block scale 72 * global scale.
    let key = 72.0 * f32::from_bits(0x39c3_0c31);
    assert_eq!(key, 0.026_785_715);
    assert_eq!(packed.dequantize()[0], 0.5 * key);
    assert_eq!(packed.dequantize()[15], -6.0 * key);
}
