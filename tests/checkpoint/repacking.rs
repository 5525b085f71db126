use std::path::Path;

use burn::module::Param;
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use burn_fp4::{Fp4Scheme, fake_quantize_slice};
use burn_gpt_oss::{CheckpointForm, CheckpointReader, CheckpointWriter, GptOss, SaveReport};
use tempfile::TempDir;

use crate::files::all_tensors;
use crate::golden;
use crate::model::{load, open, parameters, values};

const SOURCE: &str = "tiny-gpt-oss";

/// Changes an expert matrix of the last layer, and returns its name.
fn modify(model: &mut GptOss, change: impl Fn(usize, f32) -> f32) -> String {
    let layer = model.layers.len() - 1;
    let matrix = &mut model.layers[layer].mlp.experts.gate_up_proj;
    let matrix = matrix.dense_mut().expect("dense experts");
    *matrix = changed(matrix, change);
    format!("model.layers.{layer}.mlp.experts.gate_up_proj")
}

fn changed<const D: usize>(
    param: &Param<Tensor<D>>,
    change: impl Fn(usize, f32) -> f32,
) -> Param<Tensor<D>> {
    let tensor = param.base();
    let new: Vec<f32> = values(&tensor)
        .into_iter()
        .enumerate()
        .map(|(i, v)| change(i, v))
        .collect();
    Param::from_tensor(Tensor::from_data(
        TensorData::new(new, tensor.dims()),
        &tensor.device(),
    ))
}

fn save(model: &GptOss, out: &Path) -> SaveReport {
    let source = open(SOURCE);
    let writer = CheckpointWriter::new(CheckpointForm::Mxfp4).with_source(&source);
    writer.save(model, out, |_| {}).unwrap()
}

fn reload(out: &Path) -> GptOss {
    let reader = CheckpointReader::open(out).unwrap();
    reader
        .load(&Device::flex(), FloatDType::F32, |_| {})
        .unwrap()
}

/// Asserts that only these tensors have other bytes than in the source.
fn assert_changed(out: &Path, expected: &[String]) {
    let (source, found) = (
        all_tensors(&golden::directory().join(SOURCE)),
        all_tensors(out),
    );
    let differs = |(name, tensor): &(&String, &_)| source.get(*name) != Some(*tensor);
    let changed: Vec<_> = found
        .iter()
        .filter(differs)
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(changed, expected, "tensors with other bytes");
    assert_eq!(found.len(), source.len(), "number of tensors");
}

#[test]
fn trained_experts_are_stored_as_the_fake_quantizer_saw_them() {
    let parent = TempDir::new().unwrap();
    let out = parent.path().join("out");
    let mut model = load(SOURCE, &Device::flex());
    let name = modify(&mut model, |i, v| {
        v * (1.0 + (i % 97) as f32 / 130.0) + 1e-3
    });
    let report = save(&model, &out);

    assert_changed(&out, &[format!("{name}_blocks"), format!("{name}_scales")]);
    assert!(!report.copied.contains(&name), "`{name}` was changed");
    assert_eq!(
        report.copied.len(),
        2 * model.layers.len() - 1,
        "copied matrices"
    );

    let (before, after) = (parameters(&model), parameters(&reload(&out)));
    for (other, after) in &after {
        let before = &before[other];
        let expected = match *other == name {
            true => fake_quantize_slice(&before.values, &before.shape, 1, &Fp4Scheme::mxfp4()),
            false => Ok(before.values.clone()),
        };
        let pairs = after.values.iter().zip(expected.unwrap());
        let differs = pairs.clone().position(|(a, b)| a.to_bits() != b.to_bits());
        assert_eq!(differs, None, "`{other}` differs at this element");
    }
}

#[test]
fn one_changed_weight_is_noticed() {
    let parent = TempDir::new().unwrap();
    let out = parent.path().join("out");
    let mut model = load(SOURCE, &Device::flex());
    let matrix = &model
        .layers
        .last()
        .expect("a layer")
        .mlp
        .experts
        .gate_up_proj;
    let last = matrix.shape().iter().product::<usize>() - 1;
    // Far above the rest of its block.
    let name = modify(&mut model, |i, v| if i == last { 1000.0 } else { v });
    let report = save(&model, &out);
    assert!(!report.copied.contains(&name), "`{name}` was changed");
    let reloaded = parameters(&reload(&out));
    assert_eq!(
        reloaded[&name].values[last], 1024.0,
        "1000 is nearest to 4 * 2^8"
    );
}

#[test]
fn a_changed_bias_changes_nothing_else() {
    let parent = TempDir::new().unwrap();
    let out = parent.path().join("out");
    let mut model = load(SOURCE, &Device::flex());
    let bias = &mut model.layers[0].mlp.experts.down_proj_bias;
    *bias = changed(bias, |_, v| v + 1.0);
    let report = save(&model, &out);
    assert_changed(&out, &["model.layers.0.mlp.experts.down_proj_bias".into()]);
    assert_eq!(
        report.copied.len(),
        2 * model.layers.len(),
        "copied matrices"
    );
}

/// Zeros of either sign are different values: a copy must not turn one into the other.
#[test]
fn a_flipped_sign_of_zero_is_a_change() {
    let parent = TempDir::new().unwrap();
    let out = parent.path().join("out");
    let mut model = load(SOURCE, &Device::flex());
    let matrix = &model
        .layers
        .last()
        .expect("a layer")
        .mlp
        .experts
        .gate_up_proj;
    let zero = values(&matrix.val())
        .iter()
        .position(|v| *v == 0.0)
        .expect("a zero weight");
    let name = modify(&mut model, |i, v| if i == zero { -v } else { v });
    save(&model, &out);
    let (before, after) = (parameters(&model), parameters(&reload(&out)));
    let bits = |values: &[f32]| values[zero].to_bits();
    assert_eq!(
        bits(&after[&name].values),
        bits(&before[&name].values),
        "sign of element {zero}"
    );
}
