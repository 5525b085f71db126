//! Several documents in a row of a model.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::case::assert_close;
use crate::model::{load, values};

/// Logits after some layers: rounding of float32, grown by what lies between.
const LIMIT: f64 = 1e-5;

fn ids(tokens: &[i32], device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(tokens.to_vec(), [1, tokens.len()]), device)
}

#[test]
fn packed_documents_get_the_logits_they_get_alone() {
    let device = Device::flex();
    let model = load("tiny-gpt-oss", &device);
    let vocabulary = model.config().vocab_size as i32;
    let lengths = [5usize, 1, 40, 13];
    let tokens: Vec<i32> = (0..59).map(|i| (i * 37 + 11) % vocabulary).collect();
    let numbers = lengths.iter().zip([3, 0, 7, 2]);
    let numbers: Vec<i32> = numbers
        .flat_map(|(len, number)| std::iter::repeat_n(number, *len))
        .collect();
    let packed = model.forward_packed(ids(&tokens, &device), ids(&numbers, &device));
    let mut start = 0;
    for len in lengths {
        let alone = model.forward(ids(&tokens[start..start + len], &device), None);
        let here = packed.clone().narrow(1, start, len);
        let what = format!("document at {start}");
        assert_close(&what, &values(&here), &values(&alone), LIMIT);
        start += len;
    }
}

#[test]
fn one_document_is_a_plain_sequence() {
    let device = Device::flex();
    let model = load("tiny-gpt-oss", &device);
    let tokens: Vec<i32> = (0..30).map(|i| i * 5 % 64).collect();
    let plain = model.forward(ids(&tokens, &device), None);
    let packed = model.forward_packed(ids(&tokens, &device), ids(&[4; 30], &device));
    assert_eq!(values(&plain), values(&packed));
}
