//! MXFP4: `ocp`, `nvceil`, ModelOpt and torchao.

use burn::tensor::DType;
use burn_fp4::{Fp4Scheme, PackedFp4, ScaleRule, fake_quantize};
use half::bf16;

use crate::data::{Case, Golden, assert_bits};
use crate::oracle::{self, amax, bytes_by_logarithm};

const BLOCK: usize = 32;

/// Bytes of one key.
struct Wanted<'a> {
    what: String,
    codes: &'a [u8],
    scales: &'a [u8],
}

pub fn check(golden: &mut Golden, case: &Case) {
    check_rule(golden, case, "ocp", ScaleRule::Floor);
    check_rule(golden, case, "nvceil", ScaleRule::Ceil);
    check_torchao(golden, case, "ao_floor", ScaleRule::Floor);
    check_torchao(golden, case, "ao_even", ScaleRule::Even);
    check_torchao_rceil(golden, case);
    check_modelopt(golden, case);
}

fn wanted<'a>(golden: &mut Golden<'a>, case: &Case, rule: &str) -> Wanted<'a> {
    let what = format!("{}.mx.{rule}", case.name);
    Wanted {
        codes: golden.u8(&format!("{what}.packed")),
        scales: golden.u8(&format!("{what}.scale")),
        what,
    }
}

/// The bytes of the values, the same from f32 and from bf16.
fn pack(case: &Case, scheme: Fp4Scheme) -> PackedFp4 {
    let packed = PackedFp4::quantize(&case.values, &case.shape, 1, scheme).unwrap();
    if let Some(narrow) = &case.narrow {
        let from_bf16 = PackedFp4::quantize(narrow, &case.shape, 1, scheme).unwrap();
        assert_eq!(packed, from_bf16, "{}: the dtype changes bytes", case.name);
    }
    packed
}

/// Packing, unpacking and the tensor operation.
fn check_rule(golden: &mut Golden, case: &Case, rule: &str, scale_rule: ScaleRule) {
    let scheme = Fp4Scheme::mxfp4_with(scale_rule);
    let wanted = wanted(golden, case, rule);
    let (_, values) = golden.f32(&format!("{}.deq", wanted.what));
    let what = |part: &str| format!("{}: {part}", wanted.what);

    let packed = pack(case, scheme);
    assert_eq!(packed.codes(), wanted.codes, "{}", what("codes"));
    assert_eq!(packed.scales(), wanted.scales, "{}", what("scales"));

    let shape = case.shape.clone();
    let packed = PackedFp4::from_parts(scheme, shape, wanted.codes, wanted.scales).unwrap();
    assert_bits(&packed.dequantize(), &values, &what("dequantize"));
    let mut decoded = vec![bf16::ZERO; values.len()];
    packed.dequantize_along(1, &mut decoded).unwrap();
    let decoded: Vec<f32> = decoded.iter().map(|x| x.to_f32()).collect();
    assert_bits(&decoded, &values, &what("dequantize to bf16"));

    let rounded = fake_quantize(case.tensor(), &scheme).cast(DType::F32);
    let rounded = rounded.into_data().try_to_vec::<f32>().unwrap();
    assert_bits(&rounded, &values, &what("fake_quantize"));
}

/// Blocks with their codes, two per byte, and scale bytes.
fn blocks<'a>(
    case: &'a Case,
    codes: &'a [u8],
    scales: &'a [u8],
) -> impl Iterator<Item = (&'a [f32], &'a [u8], u8)> {
    assert_eq!(codes.len(), case.values.len() / 2);
    assert_eq!(scales.len(), case.values.len() / BLOCK);
    let blocks = case.values.chunks(BLOCK).zip(codes.chunks(BLOCK / 2));
    blocks
        .zip(scales)
        .map(|((block, codes), &scale)| (block, codes, scale))
}

/// torchao's codes for a scale byte: to nearest, ties to even, every sign kept.
///
/// Where the byte is 0 it does not divide by `2^-127` but by `subnormal`.
fn torchao_codes(block: &[f32], byte: u8, subnormal: f64) -> Vec<u8> {
    let scale = match byte {
        0 => subnormal,
        _ => 2f64.powi(i32::from(byte) - 127),
    };
    oracle::pack(block.iter().map(|&x| {
        let code = oracle::ties_to_even(f64::from(x.abs()) / scale);
        code | (u8::from(x.is_sign_negative()) << 3)
    }))
}

/// The scale bytes are ours; the codes are, unless the scale is below `2^-126`, torchao's smallest.
fn check_torchao(golden: &mut Golden, case: &Case, rule: &str, scale_rule: ScaleRule) {
    let wanted = wanted(golden, case, rule);
    let ours = pack(case, Fp4Scheme::mxfp4_with(scale_rule));
    assert_eq!(ours.scales(), wanted.scales, "{}: scales", wanted.what);
    let ours = blocks(case, ours.codes(), ours.scales());
    for ((block, ours, _), (_, codes, byte)) in ours.zip(blocks(case, wanted.codes, wanted.scales))
    {
        let smallest = 2f64.powi(-126);
        let oracle = torchao_codes(block, byte, smallest);
        assert_eq!(oracle, codes, "{}: oracle of {block:?}", wanted.what);
        if byte > 0 {
            assert_eq!(ours, codes, "{}: {block:?}", wanted.what);
        }
    }
}

/// torchao's `ceil` goes through a rounded logarithm, and scale byte 0 divides by 1.
fn check_torchao_rceil(golden: &mut Golden, case: &Case) {
    let wanted = wanted(golden, case, "ao_rceil");
    let ours = pack(case, Fp4Scheme::mxfp4_with(ScaleRule::Ceil));
    let ours = blocks(case, ours.codes(), ours.scales());
    for ((block, ours, scale), (_, codes, byte)) in
        ours.zip(blocks(case, wanted.codes, wanted.scales))
    {
        let what = &wanted.what;
        let allowed = bytes_by_logarithm(amax(block));
        assert!(
            allowed.contains(&byte),
            "{what}: scale {byte}, oracle {allowed:?}"
        );
        let oracle = torchao_codes(block, byte, 1.0);
        assert_eq!(oracle, codes, "{what}: oracle of {block:?}");
        if allowed == [scale] && byte > 0 {
            assert_eq!((scale, ours), (byte, codes), "{what}: {block:?}");
        }
    }
}

/// ModelOpt's export: the exponent by logarithm, ties toward zero, every zero as code 8.
fn check_modelopt(golden: &mut Golden, case: &Case) {
    let wanted = wanted(golden, case, "modelopt");
    let (_, values) = golden.f32(&format!("{}.deq", wanted.what));
    let ours = pack(case, Fp4Scheme::mxfp4());
    let golden_blocks = blocks(case, wanted.codes, wanted.scales);
    for (((block, codes, byte), values), &ours) in
        golden_blocks.zip(values.chunks(BLOCK)).zip(ours.scales())
    {
        let what = &wanted.what;
        let allowed = bytes_by_logarithm(amax(block));
        assert!(
            allowed.contains(&byte),
            "{what}: scale {byte}, oracle {allowed:?}"
        );
        if allowed.len() == 1 {
            assert_eq!(ours, byte, "{what}: scale of {block:?}");
        }
        let scale = 2f64.powi(i32::from(byte) - 127);
        let nibbles = block.iter().map(|&x| {
            let sign = u8::from(x <= 0.0) << 3;
            oracle::ties_to_zero(f64::from(x.abs()) / scale) | sign
        });
        let nibbles: Vec<u8> = nibbles.collect();
        assert_eq!(
            oracle::pack(nibbles.iter().copied()),
            codes,
            "{what}: {block:?}"
        );
        let decoded = nibbles
            .iter()
            .map(|&code| (oracle::decode(code) * scale) as f32);
        assert_bits(&decoded.collect::<Vec<_>>(), values, what);
    }
}
