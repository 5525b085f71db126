//! Training of a module that is no language model: SFT, QAT, resume, export, and what ends a run.

use std::num::NonZeroUsize;
use std::path::Path;

use burn::module::{Module, Param, ParamGroup};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::Interrupter;
use burn_fp4::{Fp4Scheme, WeightQuantization};
use burn_gpt_oss::GptOss;
use burn_qat_train::{
    DistillConfig, LayerWise, Masters, Moments, QatError, QuantPolicy, QuantRule, StageOutcome,
    StageRun, TrainConfig, Trainable, insert_quantizers, mean_loss, saved_step,
};

/// Fits a function of one variable.
#[derive(Module, Debug)]
struct Curve {
    wide: Linear,
    narrow: Linear,
}

impl Curve {
    fn new() -> Self {
        Self {
            wide: layer(1, 32),
            narrow: layer(32, 1),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.narrow.forward(self.wide.forward(x).tanh())
    }
}

/// A layer whose weights are the same in every test: the generator of random ones is shared by all.
fn layer(n_in: usize, n_out: usize) -> Linear {
    let device = Device::flex();
    let bound = (n_in as f32).powf(-0.5);
    let values = |n: usize, seed: usize| {
        let value = |i: usize| (((i + seed) * 7919 % 1009) as f32 / 504.0 - 1.0) * bound;
        (0..n).map(value).collect::<Vec<f32>>()
    };
    let weight = TensorData::new(values(n_in * n_out, 3), [n_in, n_out]);
    let bias = TensorData::new(values(n_out, 500), [n_out]);
    Linear {
        weight: Param::from_tensor(Tensor::from_data(weight, &device)),
        bias: Some(Param::from_tensor(Tensor::from_data(bias, &device))),
    }
}

impl Trainable for Curve {
    type Example = (f32, f32);
    type Batch = (Tensor<2>, Tensor<2>);

    fn batch(examples: &[&Self::Example], device: &Device) -> Self::Batch {
        let column = |values: Vec<f32>| {
            let shape = [values.len(), 1];
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        let (x, y) = examples.iter().map(|example| **example).unzip();
        (column(x), column(y))
    }

    fn loss(&self, (x, y): &Self::Batch) -> Tensor<1> {
        (self.forward(x.clone()) - y.clone()).powi_scalar(2).sum()
    }
}

type Data = (Vec<(f32, f32)>, Vec<(f32, f32)>);

fn data() -> Data {
    let point = |i: usize| {
        let x = i as f32 * 0.618 % 2.0 - 1.0;
        (x, (2.0 * x).sin())
    };
    (
        (0..200).map(point).collect(),
        (200..230).map(point).collect(),
    )
}

fn config() -> TrainConfig {
    TrainConfig {
        steps: 40,
        batch_size: 20,
        micro_batch_size: 7,
        learning_rate: 5e-2,
        eval_steps: 10,
        ..TrainConfig::default()
    }
}

fn run(dir: &Path, module: Curve, config: &TrainConfig) -> Result<StageOutcome<Curve>, QatError> {
    StageRun::new("curve", dir, config).train(module, data())
}

fn bits(module: &Curve) -> Vec<u32> {
    let [wide, narrow] = [&module.wide, &module.narrow].map(|layer| layer.weight.val());
    let values = [wide, narrow].map(|weight| weight.try_into_vec_as::<f32>().unwrap());
    values.concat().into_iter().map(f32::to_bits).collect()
}

fn mxfp4() -> WeightQuantization {
    WeightQuantization::new(Fp4Scheme::mxfp4()).with_group(ParamGroup::from_path("narrow.weight"))
}

#[test]
fn what_qat_trains_is_what_is_packed() {
    let dir = tempfile::tempdir().unwrap();
    let sft = run(dir.path(), Curve::new(), &config()).unwrap();
    let losses: Vec<f64> = sft.history.valid.iter().map(|point| point.loss).collect();
    assert_eq!(losses.len(), 4);
    assert!(losses[3] < 0.5 * losses[0], "{losses:?}");
    // Micro-batches of 7, 7 and 6 examples: the loss is the mean over all of them.
    let found = mean_loss(&sft.model, &data().1, 30).unwrap();
    assert!(
        (found - sft.valid_loss().unwrap()).abs() < 1e-6 * found,
        "{found}"
    );

    let ptq = mxfp4().fake_quantize(sft.model).unwrap();
    let config = TrainConfig {
        eval_on_start: true,
        ..config()
    };
    let qat = run(dir.path(), ptq, &config).unwrap();
    assert!(qat.valid_loss() < qat.history.start, "{:?}", qat.history);
    let packed = mxfp4().quantize(qat.model.clone()).unwrap();
    assert_eq!(bits(&packed), bits(&qat.model));
}

#[test]
fn a_policy_chooses_weights_by_their_paths() {
    let weights = QuantRule::new("*weight", Some(Fp4Scheme::mxfp4()));
    let policy = QuantPolicy::new("mine", vec![weights, QuantRule::new("wide*", None)]);
    let (_, chosen) = insert_quantizers(Curve::new(), &policy).unwrap();
    assert_eq!(chosen.len(), 1);
    assert_eq!(chosen[0].path, "narrow.weight");
}

#[test]
fn runs_go_on_as_if_they_had_not_ended() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let quantized = || mxfp4().fake_quantize(Curve::new()).unwrap();
    let config = TrainConfig {
        checkpoint_steps: NonZeroUsize::new(3),
        weight_decay: 0.01,
        ..config()
    };
    let expected = run(whole.path(), quantized(), &config).unwrap();
    let mut stops = 0;
    let found = loop {
        let stop = Interrupter::new();
        if stops < 5 {
            stop.stop(None);
        }
        let run = StageRun::new("curve", parts.path(), &config).with_interrupter(stop);
        let outcome = match saved_step(parts.path()).unwrap() {
            Some(_) => run.resume(quantized(), data()),
            None => run.train(quantized(), data()),
        };
        let outcome = outcome.unwrap();
        if !outcome.interrupted {
            break outcome;
        }
        stops += 1;
    };
    assert_eq!(stops, 5);
    assert_eq!(bits(&found.model), bits(&expected.model));
    let curve = |outcome: &StageOutcome<Curve>| {
        let points = outcome.history.train.iter();
        points.map(|point| point.loss.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(curve(&found), curve(&expected));
}

#[test]
fn a_state_belongs_to_its_data_and_module() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        checkpoint_steps: NonZeroUsize::new(10),
        ..config()
    };
    run(dir.path(), Curve::new(), &config).unwrap();
    let refused = |module, data| {
        let error = StageRun::new("curve", dir.path(), &config).resume(module, data);
        error.unwrap_err().to_string()
    };
    let (mut train, valid) = data();
    train[17].1 += 1e-6;
    let message = refused(Curve::new(), (train, valid));
    assert!(message.contains("`training_data` was"), "{message}");
    let mut module = Curve::new();
    module.narrow = LinearConfig::new(32, 1)
        .with_bias(false)
        .init(&Device::flex());
    let message = refused(module, data());
    assert!(message.contains("`model` was"), "{message}");
}

#[test]
fn a_step_that_is_not_finite_names_its_examples() {
    let dir = tempfile::tempdir().unwrap();
    let (mut train, valid) = data();
    train[150].1 = f32::NAN;
    let config = config();
    let stage = StageRun::new("curve", dir.path(), &config);
    let mut error = stage.train(Curve::new(), (train, valid)).unwrap_err();
    let QatError::Diverged { divergence, .. } = &error else {
        panic!("{error}");
    };
    assert!(divergence.examples.contains(&150), "{divergence:?}");
    // Those of its micro-batch alone.
    assert!(divergence.examples.len() <= 7, "{divergence:?}");
    // What was kept is of this module, and of no other.
    let kept_step = match &error {
        QatError::Diverged { kept_step, .. } => *kept_step,
        _ => None,
    };
    assert!(error.take_kept::<GptOss>().is_none());
    let kept = error.take_kept::<Curve>();
    assert_eq!(kept.map(|outcome| outcome.best_step), kept_step);
}

#[test]
fn what_does_not_suit_the_module_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |config: &TrainConfig, data: Data| {
        let stage = StageRun::new("curve", dir.path(), config);
        stage.train(Curve::new(), data).unwrap_err().to_string()
    };
    let distill = TrainConfig {
        distill: Some(DistillConfig::default()),
        ..config()
    };
    let message = refused(&distill, data());
    assert!(message.contains("`teacher` is none"), "{message}");
    let message = refused(&config(), (data().0, Vec::new()));
    assert!(message.contains("`validation data` is empty"), "{message}");
    let recomputed = TrainConfig {
        recompute_layers: true,
        ..config()
    };
    let message = refused(&recomputed, data());
    assert!(message.contains("`recompute_layers` is true"), "{message}");
    let narrow = TrainConfig {
        layer_wise: Some(LayerWise::default()),
        ..config()
    };
    let message = refused(&narrow, data());
    assert!(
        message.contains("`layer_wise.masters` is Split24"),
        "{message}"
    );
    let frozen = TrainConfig {
        frozen: vec!["middle*".into()],
        ..config()
    };
    let message = refused(&frozen, data());
    assert!(message.contains("middle*"), "{message}");
}

/// All gradients of a module that does not say what its layers are are one part.
#[test]
fn small_moments_serve_any_module() {
    let dir = tempfile::tempdir().unwrap();
    let whole = run(dir.path(), Curve::new(), &config()).unwrap();
    let layer_wise = |moments| TrainConfig {
        layer_wise: Some(LayerWise {
            masters: Masters::F32,
            moments,
            ..LayerWise::default()
        }),
        ..config()
    };
    let same = run(dir.path(), Curve::new(), &layer_wise(Moments::F32)).unwrap();
    assert_eq!(bits(&whole.model), bits(&same.model));
    let small = run(dir.path(), Curve::new(), &layer_wise(Moments::Companded8)).unwrap();
    let [whole, small] = [whole, small].map(|outcome| outcome.valid_loss().unwrap());
    println!("{small} with 8 bits, {whole} with 32");
    assert!(small < 1.5 * whole, "{small} and {whole}");
}
