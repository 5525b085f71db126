//! Fake quantization equals decoding the packed bytes, for every rule, dtype and way to call it.

use burn::tensor::{DType, Tensor};
use burn_fp4::{
    Fp4Element, Fp4Scheme, GlobalAmax, GlobalScope, Nvfp4ScaleRule, PackedFp4, ScaleRule,
    SliceQuantizer, fake_quantize, fake_quantize_along, fake_quantize_slice,
};
use half::bf16;

use crate::data::Case;

/// Every rule of both formats, in every block size and scope.
pub fn schemes() -> Vec<Fp4Scheme> {
    let mx = [
        ScaleRule::Ceil,
        ScaleRule::Floor,
        ScaleRule::Even,
        ScaleRule::Mse,
    ];
    let nv = [
        Nvfp4ScaleRule::Nearest,
        Nvfp4ScaleRule::Mse,
        Nvfp4ScaleRule::FourOverSix,
    ];
    let mut schemes: Vec<_> = mx.map(Fp4Scheme::mxfp4_with).into();
    for rule in nv {
        let scheme = Fp4Scheme::nvfp4_with(rule);
        schemes.extend([scheme, scheme.with_global_scope(GlobalScope::Expert)]);
    }
    schemes.push(Fp4Scheme::nvfp4_block32());
    schemes
}

pub fn check(case: &Case) {
    for scheme in schemes() {
        let what = format!("{}, {scheme}", case.name);
        match &case.narrow {
            Some(values) => check_dtype(case, values, scheme, &what),
            None => check_dtype(case, &case.values, scheme, &what),
        }
    }
}

fn check_dtype<T>(case: &Case, values: &[T], scheme: Fp4Scheme, what: &str)
where
    T: Fp4Element + Into<f64> + Default,
{
    let packed = PackedFp4::quantize(values, &case.shape, 1, scheme).unwrap();
    let mut stored = vec![T::default(); values.len()];
    packed.dequantize_along(1, &mut stored).unwrap();
    let rounded = fake_quantize_slice(values, &case.shape, 1, &scheme).unwrap();
    assert_eq!(bits(&rounded), bits(&stored), "{what}: slice");

    let tensor = case.tensor();
    let dtype = tensor.dtype();
    let rounded = fake_quantize(tensor.clone(), &scheme);
    assert_eq!(rounded.dtype(), dtype, "{what}");
    assert_eq!(tensor_bits(rounded), bits(&stored), "{what}: tensor");
    // A leading axis of one expert, so that the blocks may be strided.
    let turned = tensor.swap_dims(0, 1).unsqueeze_dim::<3>(0);
    let turned = fake_quantize_along(turned, 1, &scheme);
    if scheme.n_global_scales(&case.shape) <= 1 {
        let back = turned.squeeze_dim::<2>(0).swap_dims(0, 1);
        assert_eq!(tensor_bits(back), bits(&stored), "{what}: strided");
    }

    let quantizer = SliceQuantizer::new(scheme);
    let amax = quantizer.amax(values, &case.shape).unwrap();
    let frozen = quantizer.with_global_amax(GlobalAmax::Frozen(amax));
    let frozen = frozen.quantize(values, &case.shape, 1).unwrap();
    assert_eq!(frozen, packed, "{what}: frozen at its own magnitude");
}

/// Bits of every value as f64, exact for every dtype.
fn bits<T: Copy + Into<f64>>(values: &[T]) -> Vec<u64> {
    values.iter().map(|&x| x.into().to_bits()).collect()
}

fn tensor_bits(tensor: Tensor<2>) -> Vec<u64> {
    let dtype = tensor.dtype();
    let data = tensor.into_data();
    if dtype == DType::BF16 {
        bits(&data.try_to_vec::<bf16>().unwrap())
    } else {
        bits(&data.try_to_vec::<f32>().unwrap())
    }
}
