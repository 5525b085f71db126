//! NVFP4: the reference, ModelOpt, and the fake quantization whose scales may underflow.

use burn::tensor::DType;
use burn_fp4::{Fp4Scheme, PackedFp4, fake_quantize, fake_quantize_slice};
use half::bf16;

use crate::data::{Case, Golden, assert_bits, assert_values};
use crate::oracle::{self, amax};

const BLOCK: usize = 16;
const SCHEME: Fp4Scheme = Fp4Scheme::nvfp4();

pub fn check(golden: &mut Golden, case: &Case) {
    let packed = PackedFp4::quantize(&case.values, &case.shape, 1, SCHEME).unwrap();
    check_reference(golden, case, &packed);
    check_modelopt(golden, case, &packed);
    check_fake(golden, case);
}

/// Packing from both dtypes, unpacking and the tensor operation.
fn check_reference(golden: &mut Golden, case: &Case, packed: &PackedFp4) {
    let what = |part: &str| format!("{}.nv.ref.{part}", case.name);
    let codes = golden.u8(&what("packed"));
    let scales = golden.u8(&what("scale_e4m3"));
    let (_, global) = golden.f32(&what("gscale"));
    let (_, values) = golden.f32(&what("deq"));
    assert_eq!(packed.codes(), codes, "{}", what("packed"));
    assert_eq!(packed.scales(), scales, "{}", what("scale_e4m3"));
    assert_bits(packed.global_scales(), &global, &what("gscale"));
    if let Some(narrow) = &case.narrow {
        let from_bf16 = PackedFp4::quantize(narrow, &case.shape, 1, SCHEME).unwrap();
        assert_eq!(packed, &from_bf16, "{}: the dtype changes bytes", case.name);
    }

    let shape = case.shape.clone();
    let parts = PackedFp4::from_parts_with_global(SCHEME, shape, codes, scales, global);
    let parts = parts.unwrap();
    assert_bits(&parts.dequantize(), &values, &what("deq"));
    let narrowed: Vec<f32> = values.iter().map(|&x| bf16::from_f32(x).to_f32()).collect();
    let mut decoded = vec![bf16::ZERO; values.len()];
    parts.dequantize_along(1, &mut decoded).unwrap();
    let decoded: Vec<f32> = decoded.iter().map(|x| x.to_f32()).collect();
    assert_bits(&decoded, &narrowed, &what("deq in bf16"));

    let rounded = fake_quantize(case.tensor(), &SCHEME).cast(DType::F32);
    let rounded = rounded.into_data().try_to_vec::<f32>().unwrap();
    let wanted = if case.narrow.is_some() {
        &narrowed
    } else {
        &values
    };
    assert_bits(&rounded, wanted, &what("deq by fake_quantize"));
}

/// ModelOpt's bytes are ours; a tensor of zeros, where it divides 0 by 0, is all NaN there.
fn check_modelopt(golden: &mut Golden, case: &Case, packed: &PackedFp4) {
    let what = |part: &str| format!("{}.nv.modelopt.{part}", case.name);
    let codes = golden.u8(&what("packed"));
    let scales = golden.u8(&what("scale_e4m3"));
    let (_, global) = golden.f32(&what("gscale"));
    let (_, values) = golden.f32(&what("deq"));
    assert_bits(packed.global_scales(), &global, &what("gscale"));
    if amax(&case.values) == 0.0 {
        assert!(scales.iter().all(|&byte| byte & 0x7f == 0x7f));
        assert!(values.iter().all(|x| x.is_nan()), "{}", what("deq"));
        assert!(packed.scales().iter().all(|&byte| byte == 0x38));
        assert!(packed.dequantize().iter().all(|&x| x == 0.0));
        return;
    }
    assert_eq!(packed.codes(), codes, "{}", what("packed"));
    assert_eq!(packed.scales(), scales, "{}", what("scale_e4m3"));
    assert_values(&packed.dequantize(), &values, &what("deq"));
}

/// As the reference, except that a block scale may underflow to 0, which makes its block 0.
fn check_fake(golden: &mut Golden, case: &Case) {
    let what = |part: &str| format!("{}.nv.fake.{part}", case.name);
    let scales = golden.u8(&what("scale_e4m3"));
    let (_, values) = golden.f32(&what("deq"));
    let rounded = fake_quantize_slice(&case.values, &case.shape, 1, &SCHEME).unwrap();
    let global = amax(&case.values) / 2688.0;
    let blocks = case.values.chunks(BLOCK).zip(values.chunks(BLOCK));
    for (((block, values), &byte), ours) in blocks.zip(scales).zip(rounded.chunks(BLOCK)) {
        let ratio = match amax(block) {
            0.0 => 0.0,
            amax => amax / (6.0 * global),
        };
        let what = what(&format!("deq of {block:?}"));
        assert_eq!(oracle::e4m3_code(ratio.into()), byte, "{what}: scale");
        let key = oracle::e4m3(byte) as f32 * global;
        let oracle: Vec<f32> = block.iter().map(|&x| round(x, key)).collect();
        assert_values(&oracle, values, &what);
        // Ours never stores a scale below the smallest positive one.
        if ratio >= 2f32.powi(-9) || amax(block) == 0.0 {
            assert_values(ours, values, &what);
        }
    }
}

fn round(x: f32, key: f32) -> f32 {
    if key == 0.0 {
        return 0.0;
    }
    let code = oracle::ties_to_even(f64::from(x.abs() / key));
    (oracle::decode(code) as f32 * key).copysign(x)
}
