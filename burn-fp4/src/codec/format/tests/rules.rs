//! Random tensors against the definition, along every axis, in every scope.

use proptest::prelude::*;

use super::inputs::{Input, any_case, any_input, nvfp4};
use super::oracle;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::packed::PackedFp4;
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalAmax;
use crate::scheme::scale_rule::{Nvfp4ScaleRule, ScaleRule};

/// Scale bytes, codes and values in the order of the packed tensor.
type Wanted = (Vec<u8>, Vec<u8>, Vec<f32>);

fn wanted(
    blocks: &[Vec<f32>],
    scale: impl Fn(usize) -> u8,
    element: impl Fn(usize, u8, f32) -> (u8, f32),
) -> Wanted {
    let (mut scales, mut codes, mut values) = (vec![], vec![], vec![]);
    for (i, block) in blocks.iter().enumerate() {
        let byte = scale(i);
        scales.push(byte);
        let elements: Vec<(u8, f32)> = block.iter().map(|&x| element(i, byte, x)).collect();
        let (pairs, _) = elements.as_chunks::<2>();
        codes.extend(pairs.iter().map(|[low, high]| low.0 | high.0 << 4));
        values.extend(elements.iter().map(|element| element.1));
    }
    (scales, codes, values)
}

fn assert_packed(packed: &PackedFp4, wanted: &Wanted) -> Result<(), TestCaseError> {
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    prop_assert_eq!(packed.scales(), &wanted.0);
    prop_assert_eq!(packed.codes(), &wanted.1);
    prop_assert_eq!(bits(&packed.dequantize()), bits(&wanted.2));
    Ok(())
}

/// The definition of NVFP4 with one global scale per part of the leading axis.
fn nvfp4_wanted(input: &Input, block: usize, amax: &[f32]) -> (Vec<f32>, Wanted) {
    let blocks = input.blocks(&input.values, block);
    let per_part = blocks.len() / amax.len();
    let global = |&amax: &f32| oracle::global_scale(Nvfp4ScaleRule::Nearest, amax);
    let global: Vec<f32> = amax.iter().map(global).collect();
    let wanted = wanted(
        &blocks,
        |i| oracle::nv_code(&blocks[i], global[i / per_part]),
        |i, byte, x| oracle::nv_element(x, oracle::nv_key(byte, global[i / per_part])),
    );
    (global, wanted)
}

fn nearest_case() -> impl Strategy<Value = (Fp4Scheme, Input)> {
    let schemes = prop::sample::select(nvfp4(Nvfp4ScaleRule::Nearest));
    schemes.prop_flat_map(|scheme| (Just(scheme), any_input(scheme)))
}

fn amax_of_parts(values: &[f32], n_parts: usize) -> Vec<f32> {
    let parts = values.chunks(values.len() / n_parts);
    let amax = |part: &[f32]| part.iter().fold(0f32, |max, x| max.max(x.abs()));
    parts.map(amax).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nvfp4_equals_its_definition((scheme, input) in nearest_case()) {
        let n_scales = scheme.n_global_scales(&input.shape);
        let amax = amax_of_parts(&input.values, n_scales);
        let (global, wanted) = nvfp4_wanted(&input, scheme.block_size(), &amax);
        let packed = PackedFp4::quantize(&input.values, &input.shape, input.axis, scheme).unwrap();
        prop_assert_eq!(packed.global_scales(), &global);
        assert_packed(&packed, &wanted)?;
        prop_assert_eq!(SliceQuantizer::new(scheme).amax(&input.values, &input.shape).unwrap(), amax);
    }

    /// A frozen magnitude may be too small, which saturates, or too large.
    #[test]
    fn nvfp4_with_a_frozen_magnitude_equals_its_definition(
        (scheme, input) in nearest_case(),
        frozen in prop::collection::vec(prop_oneof![Just(0.0f32), 1e-3f32..10.0, 1e-44f32..1e-36, Just(f32::MAX)], 3),
    ) {
        let amax = &frozen[..scheme.n_global_scales(&input.shape)];
        let (_, wanted) = nvfp4_wanted(&input, scheme.block_size(), amax);
        let quantizer = SliceQuantizer::new(scheme)
            .with_global_amax(GlobalAmax::Frozen(amax.to_vec()));
        assert_packed(&quantizer.quantize(&input.values, &input.shape, input.axis).unwrap(), &wanted)?;
    }

    #[test]
    fn mxfp4_equals_its_definition(
        (rule, input) in prop::sample::select(vec![ScaleRule::Ceil, ScaleRule::Floor, ScaleRule::Even])
            .prop_flat_map(|rule| (Just(rule), any_input(Fp4Scheme::mxfp4_with(rule)))),
    ) {
        let blocks = input.blocks(&input.values, 32);
        let wanted = wanted(
            &blocks,
            |i| (oracle::mx_exponent(rule, &blocks[i]) + 127) as u8,
            |_, byte, x| oracle::mx_element(x, i32::from(byte) - 127),
        );
        let scheme = Fp4Scheme::mxfp4_with(rule);
        assert_packed(&PackedFp4::quantize(&input.values, &input.shape, input.axis, scheme).unwrap(), &wanted)?;
    }

    /// The element type changes nothing but the last rounding.
    #[test]
    fn bf16_and_f16_give_the_bytes_of_f32((scheme, input) in any_case()) {
        use half::{bf16, f16};
        let narrow: Vec<bf16> = input.values.iter().map(|&x| bf16::from_f32(x)).collect();
        let wide: Vec<f32> = narrow.iter().map(|x| x.to_f32()).collect();
        if wide.iter().all(|x| x.is_finite()) {
            let from_f32 = PackedFp4::quantize(&wide, &input.shape, input.axis, scheme).unwrap();
            prop_assert_eq!(&PackedFp4::quantize(&narrow, &input.shape, input.axis, scheme).unwrap(), &from_f32);
        }
        let narrow: Vec<f16> = input.values.iter().map(|&x| f16::from_f32(x)).collect();
        let wide: Vec<f32> = narrow.iter().map(|x| x.to_f32()).collect();
        if wide.iter().all(|x| x.is_finite()) {
            let from_f32 = PackedFp4::quantize(&wide, &input.shape, input.axis, scheme).unwrap();
            prop_assert_eq!(&PackedFp4::quantize(&narrow, &input.shape, input.axis, scheme).unwrap(), &from_f32);
        }
    }
}
