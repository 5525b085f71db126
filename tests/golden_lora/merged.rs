//! Merged weights, before and after rounding.

use burn_gpt_oss::{GptOss, TensorLayout, tensor_specs};

use crate::deviation::Deviations;
use crate::golden::{Array, Golden};
use crate::model::{device, values};
use crate::{BASES, Base, EXPECTED, adapted, rounded};

const MERGED: f64 = 1e-6;

/// The effective weight of a tensor by its name in a checkpoint, as it lies in a BF16 one.
fn weight(model: &GptOss, name: &str) -> Array<f32> {
    let specs = tensor_specs(model.config());
    let spec = specs.iter().find(|spec| spec.name == name);
    let spec = spec.unwrap_or_else(|| panic!("no tensor `{name}`"));
    let experts = model.expert_weights().find(|(path, _)| *path == spec.path);
    let values = match experts {
        Some((_, weight)) => values(&weight.val()),
        None => {
            let matrices = model.matrices();
            let matrix = matrices
                .iter()
                .find(|(path, _)| *path == spec.path)
                .unwrap()
                .1;
            assert_eq!(spec.layout, TensorLayout::Transposed);
            values(&matrix.val().swap_dims(0, 1))
        }
    };
    Array {
        shape: spec.file_shape(),
        values,
    }
}

/// Calls `compare` for every tensor with this prefix; of experts there may be the first ones alone.
fn for_all(model: &GptOss, prefix: &str, mut compare: impl FnMut(&str, &[f32], &[f32])) {
    let golden = Golden::open(EXPECTED);
    let keys = golden.keys(prefix);
    assert!(!keys.is_empty(), "no golden `{prefix}`");
    for key in keys {
        let (found, expected) = (weight(model, &key[prefix.len()..]), golden.f32(&key));
        assert_eq!(found.shape[1..], expected.shape[1..], "shape of `{key}`");
        compare(
            &key,
            &found.values[..expected.values.len()],
            &expected.values,
        );
    }
}

#[test]
fn merged_weights_equal_peft() {
    for (name, base) in BASES {
        let model = adapted(base, &device());
        let mut deviations = Deviations::new(&format!("merged, {name}"));
        for_all(&model, "merged.", |key, found, expected| {
            deviations.compare("merged", key, (found, expected), MERGED);
        });
    }
}

#[test]
fn rounded_weights_have_the_bits_of_torch() {
    for (name, base) in BASES {
        let model = rounded(base, &device());
        for_all(&model, "qat.fq.", |key, found, expected| {
            assert!(
                found
                    .iter()
                    .zip(expected)
                    .all(|(a, b)| a.to_bits() == b.to_bits()),
                "{name}: {key}"
            );
        });
    }
}

#[test]
fn all_bases_have_the_same_codes() {
    let codes = |base: Base| {
        let model = rounded(base, &device());
        let merged = model.expert_weights().map(|(path, weight)| {
            let adapter = weight.adapter().unwrap();
            let base = weight.clone().without_adapter().matrices();
            let codes = adapter.adapted(base).merge().unwrap();
            (path, codes.to_packed().unwrap())
        });
        merged.collect::<Vec<_>>()
    };
    let expected = codes(BASES[0].1);
    assert!(!expected.is_empty());
    for (name, base) in &BASES[1..] {
        assert_eq!(codes(*base), expected, "{name}");
    }
}
