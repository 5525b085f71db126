//! What is rounded is rounded by the codec, as a whole matrix.

use burn_fp4::{Fp4Scheme, Nvfp4ScaleRule, ScaleRule, SliceQuantizer};
use burn_gpt_oss::{CheckpointReader, ConvertTarget, Converter, TensorLayout};
use half::{bf16, f16};
use safetensors::Dtype;
use tempfile::TempDir;

use crate::files::{WEIGHTS, copy_of, edit_tensors};
use crate::{convert, golden};

fn schemes() -> Vec<(ConvertTarget, Fp4Scheme)> {
    let mxfp4 = [
        ScaleRule::Ceil,
        ScaleRule::Floor,
        ScaleRule::Even,
        ScaleRule::Mse,
    ];
    let nvfp4 = [
        Nvfp4ScaleRule::Nearest,
        Nvfp4ScaleRule::Mse,
        Nvfp4ScaleRule::FourOverSix,
    ];
    let mxfp4 = mxfp4.map(|rule| (ConvertTarget::Mxfp4, Fp4Scheme::mxfp4_with(rule)));
    let nvfp4 = nvfp4.map(|rule| (ConvertTarget::Nvfp4, Fp4Scheme::nvfp4_with(rule)));
    mxfp4.into_iter().chain(nvfp4).collect()
}

/// Weights that are not in FP4 already.
fn uneven(element: Dtype) -> TempDir {
    let dir = copy_of("tiny-gpt-oss-bf16");
    edit_tensors(&dir.path().join(WEIGHTS), |tensors| {
        for (name, raw) in tensors
            .iter_mut()
            .filter(|(name, _)| name.ends_with("_proj"))
        {
            let values = raw.bytes.as_chunks::<2>().0.iter().enumerate();
            let value = |(i, bytes): (usize, &[u8; 2])| {
                let value = bf16::from_le_bytes(*bytes).to_f32();
                value * (1.0 + (i * 7 % 31) as f32 / 97.0)
            };
            let values: Vec<f32> = values.map(value).collect();
            assert!(values.len() > 1000, "{name}");
            raw.bytes = values
                .iter()
                .flat_map(|value| match element {
                    Dtype::F32 => value.to_le_bytes().to_vec(),
                    Dtype::F16 => f16::from_f32(*value).to_le_bytes().to_vec(),
                    _ => bf16::from_f32(*value).to_le_bytes().to_vec(),
                })
                .collect();
            raw.dtype = element;
        }
    });
    dir
}

#[test]
fn every_rule_is_that_of_the_codec() {
    for element in [Dtype::BF16, Dtype::F16, Dtype::F32] {
        let dir = uneven(element);
        let source = CheckpointReader::open(dir.path()).unwrap();
        for (target, scheme) in schemes() {
            let out = TempDir::new().unwrap();
            let out = out.path().join("out");
            let converter = Converter::new(&source, target).with_scheme(scheme).unwrap();
            converter
                .run(&out, |_| std::ops::ControlFlow::Continue(()))
                .unwrap();
            let found = CheckpointReader::open(&out).unwrap();
            let specs = source.specs().iter();
            for spec in specs.filter(|spec| spec.layout == TensorLayout::Experts) {
                let values = source.values(spec).unwrap();
                let expected = SliceQuantizer::new(scheme)
                    .quantize(&values, &spec.shape, 1)
                    .unwrap();
                let found = found.packed(spec).unwrap();
                assert!(
                    found.has_bytes_of(&expected),
                    "{element:?} {scheme}: {}",
                    spec.path
                );
            }
        }
    }
}

#[test]
fn wider_floats_become_bf16_and_are_named() {
    let dir = uneven(Dtype::F32);
    let out = TempDir::new().unwrap();
    let report = convert(dir.path(), ConvertTarget::Bf16, &out.path().join("out")).unwrap();
    assert_eq!(report.rounded.len(), 8, "{:?}", report.rounded);
    let (source, found) = (
        CheckpointReader::open(dir.path()).unwrap(),
        CheckpointReader::open(out.path().join("out")).unwrap(),
    );
    for spec in source.specs() {
        let expected = source.values(spec).unwrap();
        let expected: Vec<f32> = expected
            .iter()
            .map(|x| bf16::from_f32(*x).to_f32())
            .collect();
        assert_eq!(found.values(spec).unwrap(), expected, "{}", spec.path);
    }
}

#[test]
fn a_rule_of_another_format_is_refused() {
    let source = CheckpointReader::open(golden::directory().join("tiny-gpt-oss")).unwrap();
    for (target, scheme) in [
        (ConvertTarget::Mxfp4, Fp4Scheme::nvfp4()),
        (ConvertTarget::Nvfp4, Fp4Scheme::mxfp4()),
        (ConvertTarget::Nvfp4, Fp4Scheme::nvfp4_block32()),
        (ConvertTarget::Bf16, Fp4Scheme::mxfp4()),
    ] {
        let error = Converter::new(&source, target)
            .with_scheme(scheme)
            .err()
            .unwrap();
        assert!(error.to_string().contains(target.name()), "{error}");
    }
}
