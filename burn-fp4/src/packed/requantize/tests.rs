use crate::codec::slice_quantizer::SliceQuantizer;
use crate::error::Fp4Error;
use crate::packed::PackedFp4;
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalScope;
use crate::scheme::scale_rule::ScaleRule;

const RULES: [ScaleRule; 4] = [
    ScaleRule::Ceil,
    ScaleRule::Floor,
    ScaleRule::Even,
    ScaleRule::Mse,
];

/// The definition.
fn decoded_and_quantized(packed: &PackedFp4, rule: ScaleRule) -> Result<PackedFp4, Fp4Error> {
    let shape = packed.shape();
    let quantizer = SliceQuantizer::new(Fp4Scheme::mxfp4_with(rule));
    quantizer.quantize(&packed.dequantize(), shape, shape.len() - 1)
}

/// Bytes without a pattern.
fn bytes(n: usize, seed: u32) -> Vec<u8> {
    let step = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*state >> 24) as u8)
    };
    std::iter::repeat_n((), n)
        .scan(seed, |state, ()| step(state))
        .collect()
}

/// Every pair of scale bytes once, each as a row of 32 elements.
fn all_pairs(global_scale: f32) -> PackedFp4 {
    let scales = (0..=255u8).flat_map(|a| (0..=255u8).flat_map(move |b| [a, b]));
    let (scheme, shape) = (Fp4Scheme::nvfp4(), vec![1 << 16, 32]);
    let codes = bytes(16 << 16, 1);
    let global = vec![global_scale];
    PackedFp4::from_parts_with_global(scheme, shape, codes, scales.collect(), global).unwrap()
}

#[test]
fn every_pair_of_scales_gives_the_bytes_of_the_definition() {
    for global_scale in [1.0, 3.1e-3, 1e-38, 5e-41, 1e35, 0.0] {
        let mut packed = all_pairs(global_scale);
        // The largest finite scale in the place of NaN.
        for scale in packed
            .scales
            .iter_mut()
            .filter(|scale| **scale & 127 == 127)
        {
            *scale -= 1;
        }
        for rule in RULES {
            let expected = decoded_and_quantized(&packed, rule).unwrap();
            let found = packed.requantize_to_mxfp4(rule).unwrap();
            assert!(found.has_bytes_of(&expected), "{global_scale} {rule}");
            assert_eq!(found.scheme(), expected.scheme());
        }
    }
}

#[test]
fn blocks_of_zeros_and_of_few_codes_give_them_too() {
    let mut packed = all_pairs(0.02);
    for scale in packed
        .scales
        .iter_mut()
        .filter(|scale| **scale & 127 == 127)
    {
        *scale = 0;
    }
    for (i, byte) in packed.codes.iter_mut().enumerate() {
        // Halves of zeros of either sign, and halves whose largest code is 1 to 7.
        *byte &= [0x88, 0x99, 0xbb, 0x22, 0x11, 0xcc, 0x80][i / 8 % 7];
    }
    for rule in RULES {
        let expected = decoded_and_quantized(&packed, rule).unwrap();
        let found = packed.requantize_to_mxfp4(rule).unwrap();
        assert!(found.has_bytes_of(&expected), "{rule}");
    }
}

#[test]
fn global_scales_of_experts_and_blocks_of_32_are_read() {
    let shape = [3, 70, 96];
    let n = shape.iter().product::<usize>();
    let value = |i: usize| ((i * 7919 % 1009) as f32 - 500.0) * 1.5f32.powi((i / 6720) as i32);
    let values: Vec<f32> = (0..n).map(value).collect();
    for scheme in [Fp4Scheme::nvfp4(), Fp4Scheme::nvfp4_block32()] {
        for scope in [GlobalScope::Tensor, GlobalScope::Expert] {
            let scheme = scheme.with_global_scope(scope);
            let packed = SliceQuantizer::new(scheme).quantize(&values, &shape, 2);
            let packed = packed.unwrap();
            let expected = decoded_and_quantized(&packed, ScaleRule::Ceil).unwrap();
            let found = packed.requantize_to_mxfp4(ScaleRule::Ceil).unwrap();
            assert!(found.has_bytes_of(&expected), "{scheme}");
        }
    }
}

#[test]
fn what_is_not_finite_is_named() {
    let n_rows = super::CHUNK + 5;
    let scheme = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);
    let packed = |at: usize, byte: u8, global: f32| {
        let mut scales = vec![0x38; 4 * n_rows];
        scales[at] = byte;
        let (codes, globals) = (vec![0x72; 32 * n_rows], vec![1.0, global]);
        let shape = vec![2, n_rows, 32];
        PackedFp4::from_parts_with_global(scheme, shape, codes, scales, globals).unwrap()
    };
    for (at, byte, global) in [
        (3, 127, 1.0),
        (2 * super::CHUNK + 1, 255, 1.0),
        (2 * n_rows + 4, 127, 1.0),
        (4 * n_rows - 1, 0x7e, 2e35),
        (0, 0x38, f32::INFINITY),
    ] {
        let packed = packed(at, byte, global);
        let expected = decoded_and_quantized(&packed, ScaleRule::Ceil).unwrap_err();
        let found = packed.requantize_to_mxfp4(ScaleRule::Ceil).unwrap_err();
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
    }
}

#[test]
fn other_formats_and_lengths_are_refused() {
    let mxfp4 = PackedFp4::quantize(&[1.0; 64], &[2, 32], 1, Fp4Scheme::mxfp4()).unwrap();
    let error = mxfp4.requantize_to_mxfp4(ScaleRule::Ceil).unwrap_err();
    assert!(matches!(error, Fp4Error::Scheme { .. }), "{error}");
    let short = PackedFp4::quantize(&[1.0; 96], &[2, 48], 1, Fp4Scheme::nvfp4()).unwrap();
    let error = short.requantize_to_mxfp4(ScaleRule::Ceil).unwrap_err();
    assert!(error.to_string().contains("48"), "{error}");
    let none = PackedFp4::quantize(&[0.0f32; 0], &[0, 32], 1, Fp4Scheme::nvfp4()).unwrap();
    assert_eq!(
        none.requantize_to_mxfp4(ScaleRule::Ceil)
            .unwrap()
            .n_elements(),
        0
    );
}
