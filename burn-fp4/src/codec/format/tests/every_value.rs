//! Everything there is: codes with scale bytes, and every value of the 16-bit types.

use half::{bf16, f16};

use super::inputs::{MX_RULES, axis_last};
use super::oracle;
use crate::codec::element::Fp4Element;
use crate::codec::non_finite::NonFinite;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::packed::PackedFp4;
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalAmax;
use crate::scheme::scale_rule::{Nvfp4ScaleRule, ScaleRule};

/// Global scales from nothing to the largest of a tensor of `f32`.
const GLOBAL_SCALES: [f32; 9] = [
    1.0,
    f32::from_bits(0x39c3_0c31),
    1.0 / 3.0,
    0.0,
    f32::from_bits(1),
    1e-40,
    f32::MIN_POSITIVE,
    1e20,
    f32::MAX / 2688.0,
];

/// 16 codes in one block of 16 or twice in one of 32.
fn all_codes(block: usize) -> Vec<u8> {
    let once = [0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe];
    once.repeat(256 * block / 16)
}

fn assert_all<T: Fp4Element + PartialOrd + core::fmt::Debug>(
    packed: &PackedFp4,
    wanted: &[f32],
    narrow: impl Fn(f32) -> T,
    bits: impl Fn(T) -> u32,
) {
    // The one thing that is not comparable.
    let is_nan = |x: T| x.partial_cmp(&x).is_none();
    let block = packed.scheme().block_size();
    let wanted: Vec<T> = wanted.iter().map(|&x| narrow(x)).collect();
    let turned = axis_last(&wanted, [1, 256, block], 1);
    for (axis, wanted) in [(1, &wanted), (0, &turned)] {
        let mut found = vec![narrow(0.0); wanted.len()];
        packed.dequantize_along(axis, &mut found).unwrap();
        for (i, (&found, &wanted)) in found.iter().zip(wanted).enumerate() {
            let same = bits(found) == bits(wanted) || (is_nan(found) && is_nan(wanted));
            assert!(same, "axis {axis}, element {i}: {found:?}, not {wanted:?}");
        }
    }
}

fn check(packed: &PackedFp4, wanted: &[f32]) {
    assert_all(packed, wanted, |x| x, f32::to_bits);
    assert_all(packed, wanted, bf16::from_f32, |x| x.to_bits().into());
    assert_all(packed, wanted, f16::from_f32, |x| x.to_bits().into());
}

#[test]
fn every_code_with_every_scale_byte_of_mxfp4() {
    let scales: Vec<u8> = (0..=255).collect();
    let wanted = scales.iter().flat_map(|&byte| {
        (0..32u8).map(move |i| match byte {
            255 => f32::NAN,
            _ => (oracle::e2m1_value(i & 15) * 2f64.powi(i32::from(byte) - 127)) as f32,
        })
    });
    let wanted: Vec<f32> = wanted.collect();
    let shape = vec![256, 32];
    let packed = PackedFp4::from_parts(Fp4Scheme::mxfp4(), shape, all_codes(32), scales).unwrap();
    check(&packed, &wanted);
}

#[test]
fn every_code_with_every_scale_byte_of_nvfp4() {
    for (block, scheme) in [(16, Fp4Scheme::nvfp4()), (32, Fp4Scheme::nvfp4_block32())] {
        for global in GLOBAL_SCALES {
            let scales: Vec<u8> = (0..=255).collect();
            let wanted = scales.iter().flat_map(|&byte| {
                // Two products, each rounded to f32.
                let key = oracle::e4m3_value(byte) as f32 * global;
                (0..block).map(move |i| oracle::e2m1_value(i as u8 & 15) as f32 * key)
            });
            let wanted: Vec<f32> = wanted.collect();
            let codes = all_codes(block);
            let (shape, global) = (vec![256, block], vec![global]);
            let packed =
                PackedFp4::from_parts_with_global(scheme, shape, codes, scales, global).unwrap();
            check(&packed, &wanted);
        }
    }
}

/// A 16-bit type.
trait Half: Fp4Element + PartialEq + core::fmt::Debug {
    fn of_bits(bits: u16) -> Self;
    fn wide(self) -> f32;
    fn rounded(value: f32) -> Self;
}

impl Half for bf16 {
    fn of_bits(bits: u16) -> Self {
        Self::from_bits(bits)
    }
    fn wide(self) -> f32 {
        self.to_f32()
    }
    fn rounded(value: f32) -> Self {
        Self::from_f32(value)
    }
}

impl Half for f16 {
    fn of_bits(bits: u16) -> Self {
        Self::from_bits(bits)
    }
    fn wide(self) -> f32 {
        self.to_f32()
    }
    fn rounded(value: f32) -> Self {
        Self::from_f32(value)
    }
}

/// All 65,536 values three times: neighbours together; mixed; and mixed with every block led by an
/// anchor, so that each meets scales it did not choose.
fn all_values<T: Half>(block: usize) -> Vec<T> {
    let all = (0..=u16::MAX).map(T::of_bits);
    let mixed = |i: usize| T::of_bits((i * 32_771) as u16);
    let anchors = [1.0, -6.0, 448.0, 0.003, 60_000.0];
    let led = |i: usize| match i % block {
        0 => T::rounded(anchors[i / block % anchors.len()]),
        rest => mixed(i / block * (block - 1) + rest - 1),
    };
    // Enough blocks of one anchor and the rest, five times over.
    let n_led = (65_536usize * anchors.len()).div_ceil(block - 1) * block;
    all.chain((0..65_536).map(mixed))
        .chain((0..n_led).map(led))
        .collect()
}

/// Packing and fake quantization of `values` against the elements that `oracle` makes of a block.
fn check_elements<T: Half>(
    quantizer: &SliceQuantizer,
    values: &[T],
    oracle: impl Fn(&[f32]) -> (u8, Vec<(u8, f32)>),
) {
    let scheme = quantizer.scheme();
    let block = scheme.block_size();
    let shape = [values.len() / block, block];
    let packed = quantizer.quantize(values, &shape, 1).unwrap();
    let rounded = quantizer.fake_quantize(values, &shape, 1).unwrap();
    let wide: Vec<f32> = values.iter().map(|x| x.wide()).collect();
    let wide_rounded = quantizer.fake_quantize(&wide, &shape, 1).unwrap();
    let decoded = packed.dequantize();
    for (i, values) in wide.chunks(block).enumerate() {
        let (byte, elements) = oracle(values);
        assert_eq!(packed.scales()[i], byte, "{scheme}: scale of {values:?}");
        for (k, &(code, value)) in elements.iter().enumerate() {
            let at = i * block + k;
            let what = || format!("{scheme}, scale {byte}: {:e} of {values:?}", values[k]);
            let nibble = packed.codes()[at / 2] >> (4 * (at % 2)) & 0xf;
            assert_eq!(nibble, code, "{}", what());
            assert_eq!(decoded[at].to_bits(), value.to_bits(), "{}", what());
            assert_eq!(wide_rounded[at].to_bits(), value.to_bits(), "{}", what());
            let narrow = T::rounded(value);
            let same = rounded[at] == narrow
                && rounded[at].wide().is_sign_negative() == narrow.wide().is_sign_negative();
            assert!(same, "{}: {:?}", what(), rounded[at]);
        }
    }
}

fn check_mxfp4<T: Half>() {
    let values = all_values::<T>(32);
    for rule in MX_RULES {
        if rule == ScaleRule::Mse {
            continue; // Its scales need the whole block: see the searches.
        }
        let quantizer = SliceQuantizer::new(Fp4Scheme::mxfp4_with(rule));
        let quantizer = quantizer.with_non_finite(NonFinite::Saturate);
        check_elements(&quantizer, &values, |block| {
            let exponent = oracle::mx_exponent(rule, block);
            let elements = block.iter().map(|&x| oracle::mx_element(x, exponent));
            ((exponent + 127) as u8, elements.collect())
        });
    }
}

fn check_nvfp4<T: Half>() {
    for scheme in [Fp4Scheme::nvfp4(), Fp4Scheme::nvfp4_block32()] {
        let values = all_values::<T>(scheme.block_size());
        for amax in [2688.0, 1.0, 60_000.0, 3e38, 0.0, 1e-41] {
            let quantizer = SliceQuantizer::new(scheme)
                .with_non_finite(NonFinite::Saturate)
                .with_global_amax(GlobalAmax::Frozen(vec![amax]));
            let global = oracle::global_scale(Nvfp4ScaleRule::Nearest, amax);
            check_elements(&quantizer, &values, |block| {
                let byte = oracle::nv_code(block, global);
                let key = oracle::nv_key(byte, global);
                let elements = block.iter().map(|&x| oracle::nv_element(x, key));
                (byte, elements.collect())
            });
        }
    }
}

#[test]
fn all_bf16_values_in_mxfp4() {
    check_mxfp4::<bf16>();
}

#[test]
fn all_f16_values_in_mxfp4() {
    check_mxfp4::<f16>();
}

#[test]
fn all_bf16_values_in_nvfp4() {
    check_nvfp4::<bf16>();
}

#[test]
fn all_f16_values_in_nvfp4() {
    check_nvfp4::<f16>();
}
