//! Distillation: divergences beside the golden data, and gradients of a student beside autodiff's.
//!
//! The data is in `golden/distill` next to this file, or in the directory `GOLDEN_DIR`; see its README.

use std::collections::BTreeMap;

use crate::deviation::Deviations;
use crate::golden::Golden;
use crate::model::{IGNORED, gradients, values};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn::train::TrainStep;
use burn_gpt_oss::{GptOss, GptOssConfig, LayerType};
use burn_qat_train::{
    DistillConfig, Divergence, FineTune, MicroBatch, QatError, QuantPolicy, StepBatch, Teacher,
    TokenizedExample, TrainConfig, insert_quantizers,
};

const FILE: &str = "distill/distill.safetensors";

/// The logits of all positions with a target, teacher's and student's, and where they are.
struct Case {
    teacher: Tensor<2>,
    student: Tensor<2>,
    targets: Tensor<1, Int>,
    /// Rows of the flattened `[batch, len]` logits, and of the flattened `[batch, len - 1]` losses.
    rows: Vec<[usize; 2]>,
    vocabulary: usize,
}

fn case(golden: &Golden, device: &Device) -> Case {
    let (labels, logits) = (golden.i64("labels"), golden.f32("student.logits"));
    let [sequences, len, vocabulary] = logits.dims();
    let mut rows = Vec::new();
    let mut targets = Vec::new();
    for (sequence, position) in (0..sequences).flat_map(|s| (1..len).map(move |p| (s, p))) {
        let label = labels.values[sequence * len + position];
        if label != IGNORED {
            rows.push([
                sequence * len + position - 1,
                sequence * (len - 1) + position - 1,
            ]);
            targets.push(label as i32);
        }
    }
    let chosen = |key: &str| {
        let values = golden.f32(key).values;
        let of_row = |row: &[usize; 2]| values[row[0] * vocabulary..][..vocabulary].to_vec();
        let values: Vec<f32> = rows.iter().flat_map(of_row).collect();
        Tensor::from_data(TensorData::new(values, [rows.len(), vocabulary]), device)
    };
    let (teacher, student) = (chosen("teacher.logits"), chosen("student.logits"));
    let n_targets = targets.len();
    Case {
        teacher,
        student,
        targets: Tensor::from_data(TensorData::new(targets, [n_targets]), device),
        rows,
        vocabulary,
    }
}

/// Mean loss 1e-5, single losses 1e-5, gradients 1e-3 of the largest.
fn compare(golden: &Golden, prefix: &str, config: DistillConfig, device: &Device) {
    let case = case(golden, device);
    let (loss, gradient) = config.of_logits(
        case.teacher.clone(),
        case.student.clone(),
        case.targets.clone(),
    );
    let (loss, gradient) = (values(&loss), values(&gradient));
    let n_targets = case.rows.len() as f32;
    let mut deviations = Deviations::new(prefix);
    let mean = [loss.iter().sum::<f32>() / n_targets];
    let key = ["mean", "loss"].map(|name| format!("{prefix}.{name}"));
    let key = key.iter().find(|key| golden.has(key)).expect("a mean");
    deviations.compare("loss", key, (&mean, &golden.f32(key).values), 1e-5);
    let key = format!("{prefix}.token");
    if golden.has(&key) {
        let expected = golden.f32(&key).values;
        let mut found = vec![0f32; expected.len()];
        for (row, loss) in case.rows.iter().zip(&loss) {
            found[row[1]] = *loss;
        }
        deviations.compare("loss", &key, (&found, &expected), 1e-5);
    }
    let key = format!("{prefix}.grad");
    let expected = golden.f32(&key).values;
    let largest = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
    let mut found = vec![0f32; expected.len()];
    for (row, gradient) in case.rows.iter().zip(gradient.chunks(case.vocabulary)) {
        let place = &mut found[row[0] * case.vocabulary..][..case.vocabulary];
        for (found, x) in place.iter_mut().zip(gradient) {
            *found = x / n_targets;
        }
    }
    let limit = 1e-3 * f64::from(largest);
    deviations.compare("gradient", &key, (&found, &expected), limit);
}

#[test]
fn divergences_equal_the_package() {
    let golden = Golden::open(FILE);
    let device = crate::model::device();
    let mut n_compared = 0;
    for (prefix, divergence) in [
        ("kl.t", Divergence::Forward),
        ("reverse_kl.t", Divergence::Reverse),
    ] {
        for key in golden.keys(prefix) {
            let Some(prefix_of_case) = key.strip_suffix(".mean") else {
                continue;
            };
            let temperature = prefix_of_case.strip_prefix(prefix).expect("the prefix");
            let config = DistillConfig {
                divergence,
                temperature: temperature.parse().expect("a temperature"),
                ..DistillConfig::default()
            };
            compare(&golden, prefix_of_case, config, &device);
            n_compared += 1;
        }
    }
    assert!(n_compared >= 4, "{n_compared} divergences");
    let half = DistillConfig {
        kl_weight: 0.5,
        ..DistillConfig::default()
    };
    compare(&golden, "mixed.half", half, &device);
    golden.finish(&[]);
}

const VOCABULARY: usize = 96;

fn network(device: &Device) -> GptOss {
    let config = GptOssConfig {
        vocab_size: VOCABULARY,
        hidden_size: 64,
        intermediate_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 16,
        num_local_experts: 4,
        num_experts_per_tok: 2,
        sliding_window: 8,
        layer_types: vec![LayerType::SlidingAttention, LayerType::FullAttention],
        initializer_range: 0.3,
        ..GptOssConfig::gpt_oss_20b()
    };
    config.init(device)
}

/// More targets than logits exist at a time, in two micro-batches.
fn batch(device: &Device) -> StepBatch {
    let example = |seed: usize| {
        let len = 60 + 5 * seed;
        TokenizedExample {
            tokens: (0..len)
                .map(|i| ((i * 7 + seed * 31) % VOCABULARY) as u32)
                .collect(),
            loss_mask: (0..len).map(|i| i % 4 != seed % 2).collect(),
            starts: Vec::new(),
        }
    };
    let examples: Vec<_> = (0..4).map(example).collect();
    StepBatch::new(&examples.iter().collect::<Vec<_>>(), 2, device)
}

/// Logits of the rows with targets.
fn logits(model: &GptOss, batch: &MicroBatch) -> Tensor<2> {
    let hidden = model.hidden_states(batch.input_ids.clone(), None, |_| {});
    let [sequences, len, width] = hidden.dims();
    let rows = hidden.reshape([sequences * len, width]);
    model.logits(rows.select(0, batch.target_rows.clone()))
}

/// Forward divergence and cross entropy by Burn's operations and autodiff alone.
fn plain_loss(teacher: &GptOss, student: &GptOss, batch: &StepBatch, share: f64) -> Tensor<1> {
    let of_batch = |batch: &MicroBatch| {
        let log_p = log_softmax(logits(teacher, batch).detach(), 1);
        let log_q = log_softmax(logits(student, batch), 1);
        let divergence = (log_p.clone().exp() * (log_p - log_q.clone())).sum();
        let targets = batch.targets.clone().reshape([batch.n_targets(), 1]);
        let entropy = log_q.gather(1, targets).sum().neg();
        divergence * share + entropy * (1.0 - share)
    };
    let losses = batch.micro_batches.iter().map(of_batch).collect();
    Tensor::cat(losses, 0).sum() / batch.n_targets as f64
}

#[test]
fn gradients_of_a_student_are_those_of_autodiff() {
    let device = Device::flex().autodiff();
    let teacher = network(&device);
    let policy = QuantPolicy::mxfp4_mlp_weight_only();
    let (rounded, _) = insert_quantizers(network(&device), &policy).expect("experts");
    let mut frozen_head = network(&device);
    frozen_head.lm_head.weight = frozen_head.lm_head.weight.set_require_grad(false);
    for (name, student) in [("rounded", rounded), ("frozen head", frozen_head)] {
        for share in [1.0, 0.25] {
            let batch = batch(&device);
            let loss = plain_loss(&teacher, &student, &batch, share);
            let expected = loss.clone().backward();
            let expected = gradients(&student, &GradientsParams::from_grads(expected, &student));
            for recompute_layers in [false, true] {
                let config = TrainConfig {
                    recompute_layers,
                    ..TrainConfig::default()
                };
                let lesson = DistillConfig {
                    kl_weight: share,
                    ..DistillConfig::default()
                };
                let stage = FineTune::new(student.clone().train(), &config);
                let stage = stage.taught_by(Teacher::new(teacher.clone()), lesson);
                let output = TrainStep::step(&stage, batch.clone());
                let title = format!("{name}, share {share}, recompute {recompute_layers}");
                let mut deviations = Deviations::new(&title);
                let pair = (&values(&output.item.loss)[..], &values(&loss)[..]);
                deviations.compare("loss", "loss", pair, 1e-5);
                let found = gradients(&student, &output.grads);
                assert!(
                    found.keys().eq(expected.keys()),
                    "{title}: the same parameters"
                );
                compare_gradients(&mut deviations, &found, &expected);
            }
        }
    }
}

fn compare_gradients(
    deviations: &mut Deviations,
    found: &crate::model::Named,
    expected: &BTreeMap<String, crate::golden::Array<f32>>,
) {
    for (name, expected) in expected {
        let largest = expected.values.iter().fold(0f32, |max, x| max.max(x.abs()));
        assert!(largest > 0.0, "{name}: zero");
        let pair = (&found[name].values[..], &expected.values[..]);
        deviations.compare("gradient", name, pair, 1e-4 * f64::from(largest));
    }
}

/// A student that is its teacher has nothing to learn.
#[test]
fn a_student_that_is_its_teacher_has_no_loss() {
    let device = Device::flex().autodiff();
    let model = network(&device);
    let teacher = Teacher::new(model.clone());
    for divergence in [Divergence::Forward, Divergence::Reverse] {
        let lesson = DistillConfig {
            divergence,
            temperature: 2.0,
            ..DistillConfig::default()
        };
        let stage = FineTune::new(model.clone().train(), &TrainConfig::default());
        let stage = stage.taught_by(teacher.clone(), lesson);
        let output = TrainStep::step(&stage, batch(&device));
        assert!(values(&output.item.loss)[0].abs() < 1e-6);
    }
}

#[test]
fn settings_out_of_range() {
    for (config, key) in [
        (
            DistillConfig {
                temperature: 0.0,
                ..DistillConfig::default()
            },
            "temperature",
        ),
        (
            DistillConfig {
                kl_weight: 1.5,
                ..DistillConfig::default()
            },
            "kl_weight",
        ),
    ] {
        match config.check() {
            Err(QatError::Setting { key: found, .. }) => assert_eq!(found, key),
            other => panic!("{other:?}"),
        }
    }
}
