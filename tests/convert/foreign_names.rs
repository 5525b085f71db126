//! Per-expert names of several programs, made from the golden model by hand.

use std::path::Path;

use burn_gpt_oss::{CheckpointReader, Dialect};

use crate::assert_same_values;
use crate::files::{Raw, RawTensors, WEIGHTS, copy_of, edit_json, edit_tensors};
use crate::golden;

const DENSE: &str = "tiny-gpt-oss-bf16";

/// `[E, in, out]` in two bytes as matrices `[out, in]`.
fn matrices(raw: &Raw) -> Vec<Raw> {
    let [experts, inputs, outputs] = raw.shape[..] else {
        panic!("three axes");
    };
    let words = raw.bytes.as_chunks::<2>().0;
    let matrix = |expert: usize| {
        let word = |i: usize| words[(expert * inputs + i % inputs) * outputs + i / inputs];
        Raw {
            dtype: raw.dtype,
            shape: vec![outputs, inputs],
            bytes: (0..inputs * outputs).flat_map(word).collect(),
        }
    };
    (0..experts).map(matrix).collect()
}

/// Biases `[E, out]` as vectors.
fn vectors(raw: &Raw) -> Vec<Raw> {
    let of = |bytes: &[u8]| Raw {
        dtype: raw.dtype,
        shape: vec![raw.shape[1]],
        bytes: bytes.to_vec(),
    };
    raw.bytes.chunks(2 * raw.shape[1]).map(of).collect()
}

/// Every second row.
fn half(raw: &Raw, odd: usize) -> Raw {
    let mut shape = raw.shape.clone();
    let row = raw.bytes.len() / shape[0];
    shape[0] /= 2;
    let rows = raw.bytes.chunks(row).skip(odd).step_by(2);
    Raw {
        dtype: raw.dtype,
        shape,
        bytes: rows.flatten().copied().collect(),
    }
}

/// Takes experts apart; `name` gives the names of a matrix or its bias, with the rows each has.
fn take_apart(
    tensors: &mut RawTensors,
    name: impl Fn(&str, usize) -> Vec<(String, Option<usize>)>,
) {
    let keys: Vec<String> = tensors
        .keys()
        .filter(|name| name.contains(".experts."))
        .cloned()
        .collect();
    for key in keys {
        let raw = tensors.remove(&key).unwrap();
        let (matrix, kind) = match key.strip_suffix("_bias") {
            Some(matrix) => (matrix, "bias"),
            None => (key.as_str(), "weight"),
        };
        let parts = if kind == "bias" {
            vectors(&raw)
        } else {
            matrices(&raw)
        };
        for (expert, part) in parts.iter().enumerate() {
            for (name, rows) in name(matrix, expert) {
                let part = rows.map_or(part.clone(), |odd| half(part, odd));
                tensors.insert(format!("{name}.{kind}"), part);
            }
        }
    }
}

fn linears(names: [&'static str; 3]) -> impl Fn(&str, usize) -> Vec<(String, Option<usize>)> {
    let [gate, up, down] = names;
    move |matrix, expert| match matrix.strip_suffix("gate_up_proj") {
        Some(prefix) => vec![
            (format!("{prefix}{expert}.{gate}"), Some(0)),
            (format!("{prefix}{expert}.{up}"), Some(1)),
        ],
        None => {
            let prefix = matrix.strip_suffix("down_proj").unwrap();
            vec![(format!("{prefix}{expert}.{down}"), None)]
        }
    }
}

fn unsloth(matrix: &str, expert: usize) -> Vec<(String, Option<usize>)> {
    vec![(format!("{matrix}s.{expert}"), None)]
}

fn assert_reads(edit: impl Fn(&mut RawTensors)) {
    let copy = copy_of(DENSE);
    edit_tensors(&copy.path().join(WEIGHTS), edit);
    let reader = CheckpointReader::open(copy.path()).unwrap();
    assert_eq!(reader.dialect(), Dialect::PerExpert);
    assert_same_values(copy.path(), &golden::directory().join(DENSE), "per expert");
}

#[test]
fn names_of_linear_layers_are_read() {
    for names in [["gate_proj", "up_proj", "down_proj"], ["w1", "w3", "w2"]] {
        assert_reads(|tensors| take_apart(tensors, linears(names)));
    }
}

#[test]
fn names_of_unsloth_are_read() {
    assert_reads(|tensors| {
        take_apart(tensors, unsloth);
        let routers: Vec<String> = tensors
            .keys()
            .filter(|name| name.contains(".router."))
            .cloned()
            .collect();
        for name in routers {
            let raw = tensors.remove(&name).unwrap();
            tensors.insert(name.replace(".router.", ".router.linear."), raw);
        }
    });
}

fn error_of(dir: &Path) -> String {
    CheckpointReader::open(dir)
        .err()
        .expect("refused")
        .to_string()
}

#[test]
fn an_expert_that_is_missing_or_unlike_is_named() {
    let names = ["gate_proj", "up_proj", "down_proj"];
    let weight = |expert: usize| format!("model.layers.1.mlp.experts.{expert}.up_proj.weight");
    let refused = |edit: &dyn Fn(&mut RawTensors), parts: &[&str]| {
        let copy = copy_of(DENSE);
        edit_tensors(&copy.path().join(WEIGHTS), |tensors| {
            take_apart(tensors, linears(names));
            edit(tensors);
        });
        let error = error_of(copy.path());
        for part in parts {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    };
    let missing = |tensors: &mut RawTensors| drop(tensors.remove(&weight(5)).unwrap());
    refused(&missing, &["expert 5", "(up)", "8 experts"]);
    let surplus = |tensors: &mut RawTensors| {
        let raw = tensors[&weight(0)].clone();
        tensors.insert(weight(8), raw);
    };
    refused(&surplus, &[&weight(8)]);
    let unlike = |tensors: &mut RawTensors| {
        let raw = tensors.get_mut(&weight(3)).unwrap();
        raw.shape = vec![raw.shape[0] / 2, 2 * raw.shape[1]];
    };
    refused(&unlike, &[&weight(3), "shape"]);
    let mixed = |tensors: &mut RawTensors| {
        let raw = tensors[&weight(2)].clone();
        tensors.insert(weight(2).replace("up_proj", "gate_up_proj"), raw);
    };
    refused(&mixed, &["layers.1.mlp.experts"]);
    // Two names of one tensor, and two spellings of one number.
    for other in ["mlp.experts.2.w3.weight", "mlp.experts.02.up_proj.weight"] {
        let twice = |tensors: &mut RawTensors| {
            let raw = tensors[&weight(2)].clone();
            tensors.insert(format!("model.layers.1.{other}"), raw);
        };
        refused(&twice, &["experts."]);
    }
    let flat = |tensors: &mut RawTensors| {
        for expert in 0..8 {
            let name = format!("model.layers.0.mlp.experts.{expert}.down_proj.bias");
            let raw = tensors.get_mut(&name).unwrap();
            raw.shape = vec![raw.shape[0] / 2, 2];
        }
    };
    refused(&flat, &["down_proj.bias", "shape"]);
}

/// Another vocabulary than config.json says: the error shows both sizes.
#[test]
fn another_size_of_the_vocabulary_is_named() {
    let copy = copy_of("tiny-gpt-oss");
    edit_json(&copy.path().join("config.json"), |config| {
        config["vocab_size"] = 520.into()
    });
    let error = error_of(copy.path());
    for part in ["lm_head.weight", "520", "512"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
}
