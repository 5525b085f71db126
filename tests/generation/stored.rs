//! Checkpoints that are not as most are.

use std::path::Path;

use burn::tensor::FloatDType;
use burn_gpt_oss::{CheckpointReader, GenerateOptions, Generation, GptOss, GptOssError};
use half::{bf16, f16};
use safetensors::Dtype;

use crate::files::{WEIGHTS, copy_of, edit_tensors};
use crate::model::{device, int_tensor, values};
use crate::{Golden, sequence};

fn load(dir: &Path, dtype: FloatDType) -> GptOss {
    let reader = CheckpointReader::open(dir).expect("a checkpoint");
    reader
        .load_stored(&device(), dtype, |_| {})
        .expect("a model")
}

fn decoded(dir: &Path) -> GptOss {
    let reader = CheckpointReader::open(dir).expect("a checkpoint");
    reader
        .load(&device(), FloatDType::F32, |_| {})
        .expect("a model")
}

fn logits(model: &GptOss) -> Vec<f32> {
    let ids = Golden::open("tiny-gpt-oss-extra.safetensors").i64("greedy.output_ids");
    values(&model.forward(int_tensor(&ids, &device()), None))
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// F16 has no place beside BF16, and one beside float32.
#[test]
fn matrices_in_f16_run_beside_either_type() {
    let dir = copy_of("tiny-gpt-oss");
    edit_tensors(&dir.path().join(WEIGHTS), |tensors| {
        for tensor in tensors
            .values_mut()
            .filter(|tensor| tensor.dtype == Dtype::BF16)
        {
            tensor.dtype = Dtype::F16;
            for bytes in tensor.bytes.as_chunks_mut::<2>().0 {
                *bytes = f16::from_f32(bf16::from_le_bytes(*bytes).to_f32()).to_le_bytes();
            }
        }
    });
    let expected = logits(&decoded(dir.path()));
    let difference = largest_difference(&logits(&load(dir.path(), FloatDType::F32)), &expected);
    assert!(difference <= 1e-5, "{difference:e}");
    if device().supports_dtype(FloatDType::BF16) {
        // Rounding to BF16 changes routing decisions, so that only the size can be compared.
        let found = logits(&load(dir.path(), FloatDType::BF16));
        let mean =
            |values: &[f32]| values.iter().map(|x| x.abs()).sum::<f32>() / values.len() as f32;
        assert!((mean(&found) / mean(&expected) - 1.0).abs() < 0.1);
    }
}

/// Floats at odd addresses cannot be read where they are.
#[test]
fn a_header_of_odd_length_changes_nothing() {
    let dir = copy_of("tiny-gpt-oss");
    let expected = logits(&load(dir.path(), FloatDType::F32));
    let path = dir.path().join(WEIGHTS);
    let bytes = std::fs::read(&path).expect("the file");
    let len = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    let (header, data) = bytes[8..].split_at(len as usize);
    let odd = [&(len + 1).to_le_bytes(), header, b" ", data].concat();
    std::fs::write(&path, odd).expect("written");
    let difference = largest_difference(&logits(&load(dir.path(), FloatDType::F32)), &expected);
    assert!(difference <= 1e-5, "{difference:e}");
}

#[test]
fn logits_that_are_no_numbers_end_a_generation() {
    let dir = copy_of("tiny-gpt-oss");
    let mut model = load(dir.path(), FloatDType::F32);
    // Not in the file: where matrices are decoded, loading refuses it.
    let head = model.lm_head.weight.clone();
    model.lm_head.weight = head.map(|weight| weight * f32::NAN);
    let prompts = vec![sequence()[..20].to_vec(); 3];
    let options = GenerateOptions {
        batch_size: 2,
        ..GenerateOptions::default()
    };
    let mut generation = Generation::new(&model, &prompts, &options, &device()).expect("valid");
    let error = generation.step().expect_err("no token can be chosen");
    assert!(matches!(error, GptOssError::Logits { .. }), "{error}");
    assert_eq!(generation.step().expect("it has ended"), None);
}
