//! Global scales of NVFP4 that quantizers keep: no optimizer touches them, the trainer refreshes them.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use burn::module::{Module, Param, ParamGroup};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::store::ModuleRecord;
use burn::tensor::activation::relu;
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use burn::train::TrainStep;
use burn_fp4::{Fp4Scheme, GlobalRefresh, WeightQuantization, WeightQuantizer};
use burn_gpt_oss::CheckpointReader;
use burn_qat_train::{
    FineTune, QuantPolicy, StepBatch, TokenizedExample, TrainConfig, insert_quantizers_with,
};

#[derive(Module, Debug)]
struct Mlp {
    up: Linear,
    down: Linear,
}

impl Mlp {
    fn new(device: &Device) -> Self {
        let linear = |d_input, d_output, seed| {
            let mut linear = LinearConfig::new(d_input, d_output).init(device);
            linear.weight = Param::from_tensor(sample([d_input, d_output], seed, device) * 0.2);
            linear.bias = linear.bias.map(|bias| bias.map(|bias| bias * 0.0));
            linear
        };
        let mlp = Self {
            up: linear(16, 32, 1),
            down: linear(32, 4, 2),
        };
        mlp.train()
    }

    fn loss(&self, device: &Device) -> Tensor<1> {
        let (x, y) = (sample([64, 16], 3, device), sample([64, 4], 4, device));
        let out = self.down.forward(relu(self.up.forward(x)));
        (out - y).square().mean()
    }
}

fn sample<const D: usize>(shape: [usize; D], seed: usize, device: &Device) -> Tensor<D> {
    let n_elements: usize = shape.iter().product();
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 10_007) as f32 / 5003.0 - 1.0;
    Tensor::from_data(
        TensorData::new((0..n_elements).map(value).collect::<Vec<_>>(), shape),
        device,
    )
}

fn frozen(module: Mlp) -> Mlp {
    WeightQuantization::new(Fp4Scheme::nvfp4())
        .with_group(ParamGroup::from_predicate("weight"))
        .with_global_refresh(GlobalRefresh::Frozen)
        .fake_quantize(module)
        .expect("both weights fit")
}

fn amax<const D: usize>(weight: &Param<Tensor<D>>) -> Vec<f32> {
    let quantizer = weight.reparameterization::<WeightQuantizer>();
    let amax = quantizer.and_then(WeightQuantizer::global_amax);
    values(amax.expect("a frozen quantizer"))
}

fn largest<const D: usize>(weight: &Param<Tensor<D>>) -> Vec<f32> {
    let largest = values(weight.base()).into_iter().map(f32::abs);
    vec![largest.fold(0.0, f32::max)]
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("f32")
}

#[test]
fn weight_decay_does_not_reach_the_scale_and_a_resumed_run_keeps_it() {
    let device = Device::flex().autodiff();
    let optimizer = || AdamWConfig::new().with_weight_decay(0.5).init();
    let run = |mut module: Mlp, steps: usize| {
        let mut optimizer = optimizer();
        for _ in 0..steps {
            let grads = GradientsParams::from_grads(module.loss(&device).backward(), &module);
            module = optimizer.step(1e-2, module, grads);
        }
        module
    };
    let start = frozen(Mlp::new(&Device::flex()));
    let scale = amax(&start.up.weight);
    assert_eq!(scale, largest(&start.up.weight));
    let trained = run(start.clone().unfreeze(), 20);
    assert_eq!(amax(&trained.up.weight), scale);
    assert_ne!(largest(&trained.up.weight), scale);
    assert!(values(trained.loss(&device)) < values(start.loss(&device)));

    let record = trained.clone().into_record().into_bytes().expect("bytes");
    let record = ModuleRecord::from_bytes(record).expect("own bytes");
    let mut fresh = Mlp::new(&Device::flex()).valid();
    fresh.up.weight = fresh.up.weight.map(|weight| weight * 3.0);
    let fresh = frozen(fresh.train());
    assert_ne!(amax(&fresh.up.weight), scale);
    let resumed = fresh.load_record(record);
    assert_eq!(amax(&resumed.up.weight), scale);
    let (a, b) = (run(resumed, 5), run(trained, 5));
    assert_eq!(values(a.up.weight.val()), values(b.up.weight.val()));
    assert_eq!(amax(&a.down.weight), amax(&b.down.weight));
}

fn tiny() -> PathBuf {
    let golden = std::env::var_os("GOLDEN_DIR").map(PathBuf::from);
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    golden.unwrap_or_else(default).join("tiny-gpt-oss")
}

#[test]
fn the_trainer_refreshes_every_so_many_steps() {
    let device = Device::flex().autodiff();
    let reader = CheckpointReader::open(tiny()).expect("golden data");
    let model = reader.load(&device, FloatDType::F32, |_| {});
    let policy = QuantPolicy::nvfp4_mlp_weight_only();
    let (model, _) = insert_quantizers_with(
        model.expect("golden data").train(),
        &policy,
        GlobalRefresh::Frozen,
    )
    .expect("experts");
    let config = TrainConfig {
        global_refresh_steps: NonZeroUsize::new(2),
        ..TrainConfig::default()
    };
    let mut stage = FineTune::new(model, &config);
    let mut optimizer = AdamWConfig::new().init();
    let experts = |stage: &FineTune| {
        let weight = &stage.model.layers[0].mlp.experts.gate_up_proj;
        weight.dense().expect("dense experts").clone()
    };
    let mut scales = vec![amax(&experts(&stage))];
    for step in 1..=3 {
        let output = TrainStep::step(&stage, batch(&device));
        stage = stage.optimize(&mut optimizer, 1e-2.into(), output.grads);
        scales.push(amax(&experts(&stage)));
        assert_eq!(
            scales[step] == largest(&experts(&stage)),
            step == 2,
            "{step}"
        );
    }
    assert_eq!(scales[0], scales[1]);
    assert_ne!(scales[1], scales[2]);
    assert_eq!(scales[2], scales[3]);
}

fn batch(device: &Device) -> StepBatch {
    let example = |seed: usize| TokenizedExample {
        tokens: (0..9)
            .map(|i| ((i * 31 + seed * 17) % 100) as u32)
            .collect(),
        loss_mask: vec![true; 9],
        starts: Vec::new(),
    };
    let examples = [example(1), example(2)];
    StepBatch::new(&examples.iter().collect::<Vec<_>>(), 2, device)
}
