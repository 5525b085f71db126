//! Scales chosen by error against every candidate.
//!
//! Errors are compared as root sums of squares in f64. The codec sums in f32, and an element it
//! normalizes is off by at most `2^-24` of its size, so of two candidates it may take the worse one
//! if they are closer than `SLACK` of the error and of the largest magnitude.

use proptest::prelude::*;

use super::inputs::elements;
use super::oracle;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::packed::PackedFp4;
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalAmax;
use crate::scheme::scale_rule::{Nvfp4ScaleRule, ScaleRule};

const SLACK: f64 = 1.0 / (1 << 19) as f64;

/// Of errors in units of the largest magnitude.
fn assert_not_worse(chosen: f64, candidate: f64, what: &str) -> Result<(), TestCaseError> {
    let (chosen, candidate) = (chosen.sqrt(), candidate.sqrt());
    let limit = candidate * (1.0 + SLACK) + SLACK;
    prop_assert!(
        chosen <= limit,
        "{what}: {chosen:e}, candidate {candidate:e}"
    );
    Ok(())
}

fn amax(block: &[f32]) -> f32 {
    block.iter().fold(0f32, |max, x| max.max(x.abs()))
}

/// Errors are in units of the largest magnitude.
fn unit(block: &[f32]) -> f64 {
    f64::from(amax(block)).max(f64::MIN_POSITIVE)
}

fn check_mxfp4(block: &[f32]) -> Result<(), TestCaseError> {
    let scheme = Fp4Scheme::mxfp4_with(ScaleRule::Mse);
    let packed = PackedFp4::quantize(block, &[32], 0, scheme).unwrap();
    let chosen = i32::from(packed.scales()[0]) - 127;
    let unit = unit(block);
    let error = |exponent| oracle::error(block, 2f64.powi(exponent), unit);
    for exponent in -127..=127 {
        let what = format!("2^{chosen} against 2^{exponent}");
        assert_not_worse(error(chosen), error(exponent), &what)?;
    }
    // A tie goes to `Ceil`, and nothing but the next exponent is an alternative.
    let ceil = oracle::mx_exponent(ScaleRule::Ceil, block);
    prop_assert!(chosen == ceil || chosen == ceil - 1);
    prop_assert!(chosen == ceil || error(chosen) != error(ceil));
    for (i, &x) in block.iter().enumerate() {
        let (code, _) = oracle::mx_element(x, chosen);
        prop_assert_eq!(packed.codes()[i / 2] >> (4 * (i % 2)) & 0xf, code);
    }
    Ok(())
}

/// Checks the bytes of one block, and returns its scale code and the error with any scale code.
fn nvfp4(
    rule: Nvfp4ScaleRule,
    block: &[f32],
    global_amax: f32,
) -> Result<(u8, impl Fn(u8) -> f64), TestCaseError> {
    let quantizer = SliceQuantizer::new(Fp4Scheme::nvfp4_with(rule))
        .with_global_amax(GlobalAmax::Frozen(vec![global_amax]));
    let packed = quantizer.quantize(block, &[16], 0).unwrap();
    let global = oracle::global_scale(rule, global_amax);
    let chosen = packed.scales()[0];
    for (i, &x) in block.iter().enumerate() {
        let (code, _) = oracle::nv_element(x, oracle::nv_key(chosen, global));
        prop_assert_eq!(packed.codes()[i / 2] >> (4 * (i % 2)) & 0xf, code);
    }
    let (block, unit) = (block.to_vec(), unit(block));
    let error = move |code| {
        let key = oracle::nv_key(code, global);
        oracle::error(&block, key.into(), unit)
    };
    Ok((chosen, error))
}

fn check_sweep(block: &[f32], global_amax: f32) -> Result<(), TestCaseError> {
    let (chosen, error) = nvfp4(Nvfp4ScaleRule::Mse, block, global_amax)?;
    if amax(block) == 0.0 {
        prop_assert_eq!(chosen, 0x38);
        return Ok(());
    }
    prop_assert!((1..=0x7e).contains(&chosen));
    for code in 1..=0x7e {
        let what = format!("scale code {chosen} against {code}, global amax {global_amax:e}");
        assert_not_worse(error(chosen), error(code), &what)?;
    }
    Ok(())
}

fn check_four_over_six(block: &[f32], global_amax: f32) -> Result<(), TestCaseError> {
    let rule = Nvfp4ScaleRule::FourOverSix;
    let (chosen, error) = nvfp4(rule, block, global_amax)?;
    let global = oracle::global_scale(rule, global_amax);
    let amax = amax(block);
    let six = oracle::nv_code_of_amax(amax, global);
    let four = oracle::nv_code_of_amax(amax * 1.5, global);
    prop_assert!(
        chosen == six || chosen == four,
        "{chosen}, not {six} or {four}"
    );
    let other = if chosen == six { four } else { six };
    assert_not_worse(error(chosen), error(other), "the other of the two")?;
    Ok(())
}

/// Blocks whose largest magnitudes are common, with the magnitude of the rest of the tensor.
fn block_and_global() -> impl Strategy<Value = (Vec<f32>, f32)> {
    (elements(16), 0u32..20).prop_map(|(block, octaves)| {
        let global = amax(&block) * 2f32.powi(octaves as i32) * 1.1;
        (block, global.min(f32::MAX))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn mxfp4_takes_the_best_of_all_exponents(block in elements(32)) {
        check_mxfp4(&block)?;
    }

    #[test]
    fn nvfp4_takes_the_best_of_all_scales((block, global) in block_and_global()) {
        check_sweep(&block, global)?;
    }

    /// A frozen magnitude below that of the block clips it.
    #[test]
    fn nvfp4_takes_the_best_of_all_scales_when_it_clips(
        block in elements(16),
        part in 0.01f32..1.0,
    ) {
        check_sweep(&block, amax(&block) * part)?;
    }

    #[test]
    fn four_over_six_takes_the_better((block, global) in block_and_global()) {
        check_four_over_six(&block, global)?;
    }
}

/// Products of scales may underflow where the global scale is subnormal; such a scale is worth nothing.
#[test]
fn the_smallest_number_survives_a_search() {
    let mut block = [0f32; 16];
    block[5] = f32::from_bits(1);
    for rule in [Nvfp4ScaleRule::Mse, Nvfp4ScaleRule::FourOverSix] {
        let quantizer = SliceQuantizer::new(Fp4Scheme::nvfp4_with(rule));
        // The global scale is the smallest number, too.
        let quantizer = quantizer.with_global_amax(GlobalAmax::Frozen(vec![f32::from_bits(1000)]));
        let rounded = quantizer.fake_quantize(&block, &[16], 0).unwrap();
        assert!(rounded.iter().all(|x| !x.is_nan()), "{rule}");
        assert!(
            rule == Nvfp4ScaleRule::FourOverSix || rounded == block,
            "{rule}: {rounded:?}"
        );
    }
}

/// Equal errors: `Ceil`, the first of the 126 scales, and the scale for 6.
#[test]
fn ties_have_a_winner() {
    // 1 is representable with any of the scales 1, 1/2, 1/4.
    let mut block = [0f32; 32];
    block[3] = 1.0;
    let mse = Fp4Scheme::mxfp4_with(ScaleRule::Mse);
    let packed = PackedFp4::quantize(&block, &[32], 0, mse).unwrap();
    assert_eq!(packed.scales(), [125]);
    let scale = |rule| {
        let quantizer = SliceQuantizer::new(Fp4Scheme::nvfp4_with(rule));
        let amax = oracle_amax(rule);
        let quantizer = quantizer.with_global_amax(GlobalAmax::Frozen(vec![amax]));
        quantizer.quantize(&block[..16], &[16], 0).unwrap().scales()[0]
    };
    // Global scale 1: 1 is exact with 1/6 of it at no scale, with 1/4 as code 6; 0.171875 for 6.
    assert_eq!(oracle::e4m3_value(scale(Nvfp4ScaleRule::Mse)), 0.25);
    assert_eq!(oracle::e4m3_value(scale(Nvfp4ScaleRule::FourOverSix)), 0.25);
}

/// The largest magnitude that gives a global scale of 1.
fn oracle_amax(rule: Nvfp4ScaleRule) -> f32 {
    match rule {
        Nvfp4ScaleRule::FourOverSix => 1536.0,
        _ => 2688.0,
    }
}
