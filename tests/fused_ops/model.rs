//! The whole model with its operations, against the same model from plain tensors.

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use burn_gpt_oss::{GptOss, GptOssConfig, LayerType};
use burn_qat_train::{MicroBatch, TokenizedExample, micro_batch_loss};

use crate::model::{Named, gradients, parameters, scalar};
use crate::plain_model;
use crate::reference::device;

/// Both sides are float32 and round differently in each of some hundred steps; every path of a
/// gradient through two layers adds to that, relative to the largest element of its tensor.
const LIMIT: f64 = 1e-4;

fn model(device: &Device) -> GptOss {
    device.seed(7);
    GptOssConfig {
        vocab_size: 50,
        hidden_size: 32,
        intermediate_size: 48,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        num_local_experts: 5,
        num_experts_per_tok: 2,
        sliding_window: 4,
        layer_types: vec![LayerType::SlidingAttention, LayerType::FullAttention],
        // Far from the linear regime of small weights.
        initializer_range: 0.3,
        ..GptOssConfig::gpt_oss_20b()
    }
    .init(device)
}

/// Two lengths, so one is padded; and tokens that are no targets.
fn batch(device: &Device) -> MicroBatch {
    let example = |len: usize, step: usize| TokenizedExample {
        tokens: (0..len).map(|i| ((i * step + 3) % 50) as u32).collect(),
        loss_mask: (0..len).map(|i| i % 3 > 0).collect(),
        starts: Vec::new(),
    };
    MicroBatch::new(&[&example(14, 11), &example(9, 7)], device)
}

fn by_parameter(model: &GptOss, loss: &Tensor<1>) -> Named {
    gradients(model, &GradientsParams::from_grads(loss.backward(), model))
}

#[test]
fn loss_and_gradients_are_those_of_plain_tensors() {
    let device = device();
    let (model, batch) = (model(&device), batch(&device));
    let (found, _) = micro_batch_loss(&model, &batch);
    let wanted = plain_model::loss(&model, &batch);
    let (loss, plain) = (scalar(&found), scalar(&wanted));
    assert!((loss - plain).abs() <= LIMIT * plain, "loss {loss} {plain}");

    let (found, wanted) = (by_parameter(&model, &found), by_parameter(&model, &wanted));
    assert!(found.keys().eq(parameters(&model).keys()), "{found:?}");
    for (name, wanted) in &wanted {
        let scale = wanted.values.iter().fold(0f32, |most, x| most.max(x.abs()));
        for (found, wanted) in found[name].values.iter().zip(&wanted.values) {
            let deviation = f64::from((found - wanted).abs());
            let limit = LIMIT * f64::from(scale);
            assert!(deviation <= limit, "{name}: {found}, expected {wanted}");
        }
    }
}
