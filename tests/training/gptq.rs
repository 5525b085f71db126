//! GPTQ of a model: what it wins over rounding to nearest, what it leaves alone, and what is refused.

use std::ops::ControlFlow;

use burn::module::Param;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_gpt_oss::GptOss;
use burn_qat_train::{
    PtqMethod, QuantPolicy, QuantRule, TokenizedExample, export_fp4, gptq, insert_quantizers,
};

use crate::model::{load, open, values};

const SOURCE: &str = "tiny-gpt-oss";

/// The golden model with expert weights between the points of the grid.
fn moved() -> GptOss {
    let mut model = load(SOURCE, &Device::flex());
    for (_, weight) in model.expert_weights_mut() {
        *weight = Param::from_tensor(weight.val() * 1.037 + 0.001).into();
    }
    model
}

fn example(seed: u32, n_tokens: u32, vocab_size: usize) -> TokenizedExample {
    let token = |i: u32| (i * 7919 + seed * 104_729 + i * i) % vocab_size as u32;
    TokenizedExample {
        tokens: (0..n_tokens).map(token).collect(),
        loss_mask: vec![true; n_tokens as usize],
        starts: Vec::new(),
    }
}

/// Conversations with tokens of a small set, as text has frequent ones.
fn calibration(model: &GptOss) -> Vec<TokenizedExample> {
    let vocab_size = model.config().vocab_size;
    (0..12)
        .map(|seed| example(seed, 24 + seed, vocab_size))
        .collect()
}

fn all(_: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn logits(model: &GptOss, example: &TokenizedExample) -> Vec<f32> {
    let ids: Vec<i32> = example.tokens.iter().map(|id| *id as i32).collect();
    let shape = [1, ids.len()];
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), &Device::flex());
    values(&model.forward(ids, None))
}

/// Mean squared distance of the logits of two models, on text that neither was calibrated on.
fn distance(a: &GptOss, b: &GptOss) -> f64 {
    let examples = (100..108).map(|seed| example(seed, 30, a.config().vocab_size));
    let distance = |example: TokenizedExample| {
        let (a, b) = (logits(a, &example), logits(b, &example));
        let squares = a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2));
        squares.sum::<f64>() / a.len() as f64
    };
    examples.map(distance).sum::<f64>() / 8.0
}

#[test]
fn logits_are_nearer_than_those_of_rounding_to_nearest() {
    let model = moved();
    for preset in [
        QuantPolicy::mxfp4_mlp_weight_only(),
        QuantPolicy::nvfp4_mlp_weight_only(),
    ] {
        let policy = PtqMethod::Gptq.policy(&preset);
        let nearest = insert_quantizers(model.clone(), &policy).unwrap().0;
        let rounded = gptq(model.clone(), &policy, &calibration(&model), all);
        let rounded = rounded.unwrap().unwrap();
        let (by_gptq, by_nearest) = (distance(&rounded, &model), distance(&nearest, &model));
        assert!(
            by_gptq < 0.8 * by_nearest,
            "{}: {by_gptq:.2e} and {by_nearest:.2e}",
            preset.name
        );
        let dir = tempfile::tempdir().unwrap();
        let report = export_fp4(
            &rounded,
            &dir.path().join("out"),
            &open(SOURCE),
            false,
            |_| {},
        );
        assert_eq!(
            report.unwrap().verified_weights,
            model.config().num_expert_weights()
        );
    }
}

/// Of one token a few experts are chosen. The others are rounded as if there were no data.
#[test]
fn experts_without_tokens_are_rounded_to_nearest() {
    let model = moved();
    let policy = QuantPolicy::mxfp4_mlp_weight_only();
    let one = [example(1, 1, model.config().vocab_size)];
    let rounded = gptq(model.clone(), &policy, &one, all).unwrap().unwrap();
    let nearest = insert_quantizers(model, &policy).unwrap().0;
    let experts = rounded.config().num_local_experts;
    for ((path, a), (_, b)) in rounded.expert_weights().zip(nearest.expert_weights()) {
        let (a, b) = (values(&a.val()), values(&b.val()));
        let of_expert = a.len() / experts;
        let same = (0..experts).filter(|e| {
            let range = e * of_expert..(e + 1) * of_expert;
            a[range.clone()] == b[range]
        });
        let top_k = rounded.config().num_experts_per_tok;
        let same = same.count();
        assert!(same >= experts - top_k, "{path}: {same} of {experts}");
    }
}

#[test]
fn the_rest_of_the_model_stays_as_it_was() {
    let model = moved();
    let mut policy = QuantPolicy::mxfp4_mlp_weight_only();
    policy.rules.push(QuantRule {
        pattern: "layers.1.mlp.experts.down_proj".into(),
        scheme: None,
    });
    let rounded = gptq(model.clone(), &policy, &calibration(&model), all);
    let rounded = rounded.unwrap().unwrap();
    let packed = |(path, weight): (String, &burn_gpt_oss::ExpertWeight)| {
        weight.packed().is_none().then_some(path)
    };
    let dense: Vec<String> = rounded.expert_weights().filter_map(packed).collect();
    assert_eq!(dense, ["layers.1.mlp.experts.down_proj"]);
    let attention = |model: &GptOss| values(&model.layers[0].self_attn.q_proj.weight.val());
    assert_eq!(attention(&rounded), attention(&model));
}

#[test]
fn it_can_be_stopped_and_refuses_what_it_cannot_do() {
    let model = moved();
    let policy = QuantPolicy::mxfp4_mlp_weight_only();
    let data = calibration(&model);
    let mut layers = Vec::new();
    let stopped = gptq(model.clone(), &policy, &data, |layer| {
        layers.push(layer);
        ControlFlow::Break(())
    });
    assert!(stopped.unwrap().is_none());
    assert_eq!(layers, [1]);

    let error = gptq(model.clone(), &policy, &[], all)
        .unwrap_err()
        .to_string();
    assert!(error.contains("calibration data"), "{error}");
    let mut none = policy.clone();
    none.rules = vec![QuantRule {
        pattern: "*no_such_part*".into(),
        scheme: policy.rules[0].scheme,
    }];
    let error = gptq(model, &none, &data, all).unwrap_err().to_string();
    assert!(
        error.contains("`*no_such_part*` matches no weight"),
        "{error}"
    );
}
