//! SFT, PTQ, QAT and export of a module of your own: `cargo run --example qat_any_module`.

use burn::nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig};
use burn::tensor::activation::relu;
use burn::{module::ParamGroup, prelude::*};
use burn_fp4::{Fp4Scheme, WeightQuantization};
use burn_qat_train::{Console, StageRun, TrainConfig, Trainable, mean_loss};

/// Tells on which of five arms of a spiral a point of the plane is.
#[derive(Module, Debug)]
struct Classifier {
    layers: [Linear; 3],
}
impl Trainable for Classifier {
    type Example = ([f32; 2], i32);
    type Batch = (Tensor<2>, Tensor<1, Int>);
    fn batch(examples: &[&Self::Example], device: &Device) -> Self::Batch {
        let (points, arms): (Vec<_>, Vec<_>) = examples.iter().map(|example| **example).unzip();
        let points = Tensor::<1>::from_data(points.as_flattened(), device);
        (points.reshape([-1, 2]), Tensor::from_data(&*arms, device))
    }
    fn loss(&self, (points, arms): &Self::Batch) -> Tensor<1> {
        let [first, second, last] = &self.layers;
        let hidden = relu(second.forward(relu(first.forward(points.clone()))));
        let mean = CrossEntropyLossConfig::new().init(&points.device());
        mean.forward(last.forward(hidden), arms.clone()) * arms.dims()[0] as f64
    }
}

fn main() -> anyhow::Result<()> {
    let point = |i: usize| {
        let [x, y] = [0.618, 0.414].map(|step: f32| i as f32 * step % 2.0 - 1.0);
        let turns = x.atan2(y) / std::f32::consts::TAU + x.hypot(y);
        ([x, y], (5.0 * turns).rem_euclid(5.0) as i32)
    };
    let [train, valid]: [Vec<_>; 2] = [0..4000, 4000..5000].map(|i| i.map(point).collect());
    let stage = |name: &str, module, learning_rate| {
        let mut config = TrainConfig::default();
        (config.batch_size, config.micro_batch_size) = (100, 100);
        (config.steps, config.eval_steps, config.learning_rate) = (1000, 50, learning_rate);
        let dir = format!("runs/any_module/{name}");
        let data = (train.clone(), valid.clone());
        let run = StageRun::new(name, dir.as_ref(), &config);
        run.with_console(Console::Terminal).train(module, data)
    };
    let device = Device::flex();
    device.seed(1);
    let layers = [[2, 64], [64, 64], [64, 5]].map(|[i, o]| LinearConfig::new(i, o).init(&device));
    let sft = stage("SFT", Classifier { layers }, 1e-2)?.model;
    // A block of MXFP4 has 32 inputs: the first layer, with two, stays as it is.
    let inner = ParamGroup::from_paths(vec!["layers.1.weight", "layers.2.weight"]);
    let mxfp4 = WeightQuantization::new(Fp4Scheme::mxfp4()).with_group(inner);
    let ptq = mxfp4.fake_quantize(sft.clone())?;
    let qat = mxfp4.quantize(stage("QAT", ptq.clone(), 1e-3)?.model)?;
    qat.clone().into_record().save("runs/any_module/mxfp4")?;
    for (name, module) in [("SFT", sft), ("PTQ", ptq), ("QAT", qat.into_inner())] {
        println!("{name} loss {:.4}", mean_loss(&module, &valid, 100)?);
    }
    Ok(())
}
