//! Training of factors on a base that stays in its file.

use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::store::ModuleRecord;
use burn::tensor::{Bytes, Device, Tensor};
use burn::train::TrainStep;
use burn_gpt_oss::{AdapterCheckpoint, GptOss};
use burn_qat_train::{
    FineTune, LoraConfig, QuantPolicy, StageOutcome, StageRun, StepBatch, TokenizedExample,
    TrainConfig, round_adapters,
};

use crate::adapted;
use crate::model::values;

pub fn examples(n: usize) -> Vec<TokenizedExample> {
    let tokens = |seed: usize| (0..20).map(|i| ((i * i + 7 * seed) % 50) as u32).collect();
    let example = |seed| TokenizedExample {
        tokens: tokens(seed),
        loss_mask: vec![true; 20],
        starts: Vec::new(),
    };
    (0..n).map(example).collect()
}

pub fn lora() -> LoraConfig {
    LoraConfig {
        rank: 4,
        ..LoraConfig::default()
    }
}

/// A model in training on rounded sums.
pub fn model() -> GptOss {
    model_on(&Device::flex())
}

fn model_on(device: &Device) -> GptOss {
    let model = adapted(&lora(), device);
    round_adapters(model, &QuantPolicy::mxfp4_mlp_weight_only())
        .unwrap()
        .0
}

fn config() -> TrainConfig {
    TrainConfig {
        steps: 12,
        eval_steps: 3,
        learning_rate: 1e-2,
        recompute_layers: true,
        ..TrainConfig::default()
    }
}

fn run(dir: &Path, config: &TrainConfig) -> StageOutcome {
    let data = (examples(6), examples(2));
    let run = StageRun::new("LoRA", dir, config);
    run.train(model(), data).unwrap()
}

/// All parameters that are not factors, by path.
#[derive(Default)]
struct Frozen {
    path: Vec<String>,
    values: Vec<(String, Vec<f32>)>,
}

impl ModuleVisitor for Frozen {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        if !path.contains(".lora.") {
            self.values.push((path, values(&param.base())));
        }
    }
}

fn frozen(model: &GptOss) -> Vec<(String, Vec<f32>)> {
    let mut frozen = Frozen::default();
    model.visit(&mut frozen);
    frozen.values
}

#[test]
fn the_factors_learn_and_nothing_else_changes() {
    let dir = tempfile::tempdir().unwrap();
    let outcome = run(dir.path(), &config());
    let losses: Vec<f64> = outcome
        .history
        .train
        .iter()
        .map(|point| point.loss)
        .collect();
    assert!(losses[losses.len() - 1] < 0.8 * losses[0], "{losses:?}");
    assert_eq!(frozen(&outcome.model), frozen(&model()));
    let trained = AdapterCheckpoint::of(&outcome.model, lora().settings("")).unwrap();
    for (path, factors) in &trained.factors {
        assert!(
            factors.b.iter().any(|value| *value != 0.0),
            "{path} was not trained"
        );
    }
    let scheme = |model: &GptOss| {
        let schemes = model
            .expert_weights()
            .map(|(_, weight)| weight.adapter().unwrap().scheme());
        schemes.collect::<Vec<_>>()
    };
    assert_eq!(
        scheme(&outcome.model),
        scheme(&model()),
        "the quantizers stay"
    );
}

/// A base of many gigabytes is not written with every better model.
#[test]
fn the_best_model_is_kept_as_factors_alone() {
    let dir = tempfile::tempdir().unwrap();
    let outcome = run(dir.path(), &config());
    let path = outcome
        .record
        .clone()
        .expect("an evaluation that was better");
    let bytes = std::fs::read(&path).unwrap();
    let record = ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes)).unwrap();
    let adapter = AdapterCheckpoint::of(&outcome.model, lora().settings("")).unwrap();
    assert_eq!(record.len(), 2 * adapter.factors.len());
}

#[test]
fn a_best_step_that_is_not_the_last_comes_back() {
    // Too large all of them; where the best step is depends on the digits of the processor.
    let rates = [0.3, 1.0, 3.0, 0.1];
    let runs = rates.map(|learning_rate| {
        let config = TrainConfig {
            learning_rate,
            eval_steps: 1,
            warmup_ratio: 0.0,
            min_lr_ratio: 1.0,
            ..config()
        };
        let dir = tempfile::tempdir().unwrap();
        (run(dir.path(), &config), config)
    });
    let mut runs = runs.into_iter();
    let (outcome, config) = runs
        .find(|(outcome, config)| outcome.best_step < config.steps)
        .expect("a run that was better before its end");
    let valid = &outcome.history.valid;
    let best = valid
        .iter()
        .min_by(|a, b| a.loss.total_cmp(&b.loss))
        .unwrap();
    assert_eq!(outcome.best_step, best.step);
    let once_more = TrainConfig {
        steps: best.step,
        eval_steps: best.step,
        ..config
    };
    let again = tempfile::tempdir().unwrap();
    let expected = run(again.path(), &once_more);
    let factors = |outcome: &StageOutcome| {
        AdapterCheckpoint::of(&outcome.model, lora().settings("")).unwrap()
    };
    assert_eq!(factors(&outcome), factors(&expected));
}

/// Layers that run again must see the same codes.
#[test]
fn recomputed_layers_give_the_same_gradients() {
    let device = Device::flex().autodiff();
    let model = model_on(&device);
    let data = examples(3);
    let batch = StepBatch::new(&data.iter().collect::<Vec<_>>(), 3, &device);
    let gradients = |recompute_layers| {
        let config = TrainConfig {
            recompute_layers,
            ..TrainConfig::default()
        };
        let model = FineTune::new(model.clone(), &config);
        let output = model.step(batch.clone());
        let mut found = FactorGradients {
            grads: output.grads,
            found: Vec::new(),
        };
        model.visit(&mut found);
        found.found
    };
    let (whole, again) = (gradients(false), gradients(true));
    assert_eq!(whole.len(), 2 * 6 * model.layers.len());
    for (whole, again) in whole.iter().zip(&again) {
        let largest = whole.iter().fold(0f32, |max, value| max.max(value.abs()));
        for (a, b) in whole.iter().zip(again) {
            assert!((a - b).abs() <= 1e-5 * largest, "{a} {b}");
        }
    }
}

struct FactorGradients {
    grads: burn::optim::GradientsParams,
    found: Vec<Vec<f32>>,
}

impl ModuleVisitor for FactorGradients {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.grads.get::<D>(param.id) {
            self.found.push(values(&gradient));
        }
    }
}
