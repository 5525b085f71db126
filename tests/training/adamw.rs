//! The optimizer of the trainer has the bits of Burn's.

use burn::module::{Module, Param};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor, TensorData};
use burn_qat_train::{TrainConfig, adamw};

#[derive(Module, Debug)]
struct Weights {
    matrix: Param<Tensor<2>>,
    vector: Param<Tensor<1>>,
}

/// From about 1e-6 to 1, of both signs, some of them zero.
fn sample<const D: usize>(shape: [usize; D], seed: usize, device: &Device) -> Tensor<D> {
    let n_elements: usize = shape.iter().product();
    let value = |i: usize| {
        let x = ((i * 7919 + seed * 104_729) % 10_007) as f32 / 5003.0 - 1.0;
        if i.is_multiple_of(13) { 0.0 } else { x.powi(5) }
    };
    let values: Vec<_> = (0..n_elements).map(value).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn gradients(weights: &Weights, step: usize, device: &Device) -> GradientsParams {
    let mut grads = GradientsParams::new();
    let matrix = sample([37, 1001], step, device);
    // One that lies transposed in memory, and one that begins within a larger buffer.
    let matrix = if step.is_multiple_of(2) {
        matrix.swap_dims(0, 1)
    } else {
        matrix.reshape([1001, 37])
    };
    grads.register(weights.matrix.id, matrix);
    grads.register(
        weights.vector.id,
        sample([50], step, device).narrow(0, 7, 19),
    );
    grads
}

fn run(mut optimizer: ModuleOptimizer, start: &Weights, device: &Device) -> [Vec<u32>; 2] {
    let mut weights = start.clone();
    for step in 0..5 {
        let grads = gradients(&weights, step, device);
        weights = optimizer.step(1e-3, weights, grads);
    }
    let bits = |data: TensorData| -> Vec<u32> {
        let values: Vec<f32> = data.try_into_vec().expect("f32");
        values.into_iter().map(f32::to_bits).collect()
    };
    let (matrix, vector) = (weights.matrix.val(), weights.vector.val());
    [matrix.into_data(), vector.into_data()].map(bits)
}

#[test]
fn steps_have_the_bits_of_burn() {
    let device = Device::flex().autodiff();
    let plain = Device::flex();
    let start = Weights {
        matrix: Param::from_tensor(sample([1001, 37], 100, &device)),
        vector: Param::from_tensor(sample([19], 101, &device)),
    };
    let before = start.matrix.val().into_data();
    for weight_decay in [0.0, 0.1] {
        let config = TrainConfig {
            weight_decay,
            ..TrainConfig::default()
        };
        let burn = AdamWConfig::new()
            .with_beta_1(config.beta_1)
            .with_beta_2(config.beta_2)
            .with_epsilon(config.epsilon)
            .with_weight_decay(weight_decay)
            .init();
        let expected = run(burn, &start, &plain);
        let found = run(adamw(&config), &start, &plain);
        assert!(found == expected, "decay {weight_decay}");
    }
    assert_eq!(
        start.matrix.val().into_data(),
        before,
        "a clone is not written to"
    );
}
