//! NaN and infinity: refused by packing; in training they saturate, and never spread NaN.

use burn_fp4::{
    Fp4Error, Fp4Scheme, NonFinite, PackedFp4, SliceQuantizer, fake_quantize, fake_quantize_slice,
};

use crate::data::{Case, assert_bits};
use crate::training::schemes;

/// What other packages return, which differ among themselves: no rule.
pub const ELSEWHERE: [&str; 9] = [
    "mx.modelopt.packed",
    "mx.modelopt.scale",
    "mx.ao_floor.packed",
    "mx.ao_floor.scale",
    "mx.ao_rceil.packed",
    "mx.ao_rceil.scale",
    "nv.modelopt.packed",
    "nv.modelopt.scale_e4m3",
    "nv.modelopt.gscale",
];

pub fn check(case: &Case) {
    for scheme in schemes() {
        check_refusal(case, scheme);
        check_saturation(case, scheme);
    }
}

/// The error names the first element that is not finite.
fn check_refusal(case: &Case, scheme: Fp4Scheme) {
    let first = case.values.iter().position(|x| !x.is_finite()).unwrap();
    let error = PackedFp4::quantize(&case.values, &case.shape, 1, scheme).unwrap_err();
    let Fp4Error::NonFinite { index, value } = error else {
        panic!("{}, {scheme}: {error}", case.name);
    };
    assert_eq!(index, first, "{}, {scheme}", case.name);
    assert_eq!(value.to_bits(), case.values[first].to_bits());
    let text = error.to_string();
    assert!(text.contains(&format!("flat index {first} ")), "{text}");
    let strict = SliceQuantizer::new(scheme);
    let rounded = strict.fake_quantize(&case.values, &case.shape, 1);
    assert!(matches!(rounded, Err(Fp4Error::NonFinite { index, .. }) if index == first));
}

fn check_saturation(case: &Case, scheme: Fp4Scheme) {
    let what = format!("{}, {scheme}", case.name);
    let rounded = fake_quantize(case.tensor(), &scheme).into_data();
    let rounded = rounded.try_to_vec::<f32>().unwrap();
    for (x, y) in case.values.iter().zip(&rounded) {
        assert!(!y.is_nan(), "{what}: {x} became NaN");
        let signs = (x.is_sign_negative(), y.is_sign_negative());
        assert!(signs.0 == signs.1 || *x == 0.0, "{what}: {x} became {y}");
    }
    // Whatever is not finite becomes the largest magnitude of its block.
    let block = scheme.block_size();
    for (values, rounded) in case.values.chunks(block).zip(rounded.chunks(block)) {
        let largest = rounded.iter().fold(0f32, |max, y| max.max(y.abs()));
        for (x, y) in values.iter().zip(rounded) {
            assert!(
                x.is_finite() || y.abs() == largest,
                "{what}: {x} became {y}"
            );
        }
    }
    let slice = fake_quantize_slice(&case.values, &case.shape, 1, &scheme).unwrap();
    assert_bits(&slice, &rounded, &what);
    let saturating = SliceQuantizer::new(scheme).with_non_finite(NonFinite::Saturate);
    let packed = saturating.quantize(&case.values, &case.shape, 1).unwrap();
    assert_bits(&packed.dequantize(), &rounded, &what);
}
