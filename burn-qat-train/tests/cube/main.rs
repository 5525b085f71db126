//! AdamW by a kernel, on every runtime there is, against its formula in `f64`, step by step: each step
//! starts from what the runtime had, and is off by the roundings of its own operations. Divisions and
//! roots of shading languages may be off by a few units in the last place (WGSL, section 15.7.4).
#![cfg(feature = "_cube")]

mod compact;

use burn::module::{Module, Param};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{DType, Device, Tensor, TensorData};
use burn_cubecl::CubeBackend;
use burn_qat_train::backend::AdamWFactors;
use burn_qat_train::backend::{AdamWBackend, AdamWUpdated};
use burn_qat_train::{TrainConfig, adamw};
use kernel_harness::bounds::{Bounded, UNIT, check, dtypes, floats, sample, smallest, unit};
use kernel_harness::runtimes::{TestRuntime, devices, read, runtimes};

const SHAPES: [[usize; 2]; 3] = [[3, 5], [1, 1], [37, 64]];
const N_STEPS: i32 = 4;

fn factors(step: i32, decay: Option<f32>) -> AdamWFactors {
    let (beta_1, beta_2) = (0.9f32, 0.95f32);
    AdamWFactors {
        beta_1,
        beta_2,
        bias_1: 1.0 - beta_1.powi(step),
        bias_2: 1.0 - beta_2.powi(step),
        epsilon: 1e-8,
        learning_rate: 1e-3,
        decay,
    }
}

/// Weight, first moment and second moment of an element.
fn exact([w, m, v, g]: [f64; 4], factors: AdamWFactors, dtype: DType) -> [Bounded; 3] {
    let [beta_1, beta_2, bias_1, bias_2, epsilon, rate, kept] = [
        factors.beta_1,
        factors.beta_2,
        factors.bias_1,
        factors.bias_2,
        factors.epsilon,
        factors.learning_rate,
        factors.decay.unwrap_or(1.0),
    ]
    .map(f64::from);
    let rest = |beta: f32| f64::from(1.0 - beta);
    let terms = [m * beta_1, g * rest(factors.beta_1)];
    let m = terms[0] + terms[1];
    let of_m = 3.0 * UNIT * (terms[0].abs() + terms[1].abs());
    let v = v * beta_2 + g * g * rest(factors.beta_2);
    let of_v = 4.0 * UNIT * v;
    let root = (v / bias_2).sqrt() + epsilon;
    let delta = m / bias_1 / root;
    // The root has half of the relative error of what is below it; two divisions, a root, a sum.
    let of_delta = of_m / bias_1 / root + delta.abs() * 24.0 * UNIT;
    let value = w * kept - delta * rate;
    let of_w = rate * of_delta + 3.0 * UNIT * (w.abs() + (delta * rate).abs());
    let narrow = |value: f64, bound: f64| {
        let last = match dtype {
            DType::F32 => 0.0,
            _ => unit(dtype) * value.abs(),
        };
        (value, bound + last + smallest(dtype))
    };
    [narrow(value, of_w), narrow(m, of_m), narrow(v, of_v)]
}

/// The largest share of a bound over some steps.
fn run(runtime: &TestRuntime, shape: [usize; 2], dtype: DType, decay: Option<f32>) -> f64 {
    let what = format!("{}: {shape:?} {dtype:?} decay {decay:?}", runtime.name);
    println!("{what}");
    let zeros = TensorData::zeros::<f32, _>(shape).convert_dtype(dtype);
    let mut state = [sample(shape, 1.0, dtype), zeros.clone(), zeros].map(|x| runtime.tensor(x));
    let mut largest = 0f64;
    for step in 1..=N_STEPS {
        let grad = sample(shape, 0.1 / step as f32, dtype);
        let factors = factors(step, decay);
        let before = state.clone().map(read);
        let expected = expected(&before, &grad, factors, dtype);
        // At the second step others hold the tensors, and must not see them change.
        let held = (step == 2).then(|| state.clone());
        let [weight, moment_1, moment_2] = state;
        let grad = runtime.tensor(grad);
        let AdamWUpdated {
            weight,
            moment_1,
            moment_2,
        } = CubeBackend::adamw_update(weight, grad, moment_1, moment_2, factors);
        state = [weight, moment_1, moment_2];
        let names = ["weight", "first moment", "second moment"];
        for ((name, found), expected) in names.into_iter().zip(state.clone()).zip(&expected) {
            let what = format!("{what}, step {step}, {name}");
            largest = largest.max(check(&what, &read(found), &shape, dtype, expected));
        }
        if let Some(held) = held {
            assert!(held.map(read) == before, "{what}: others see the step");
        }
    }
    largest
}

fn expected(
    before: &[TensorData; 3],
    grad: &TensorData,
    factors: AdamWFactors,
    dtype: DType,
) -> [Vec<Bounded>; 3] {
    let [w, m, v] = before.each_ref().map(floats);
    let mut all = [vec![], vec![], vec![]];
    for (i, g) in floats(grad).into_iter().enumerate() {
        let exact = exact([w[i], m[i], v[i], g], factors, dtype);
        all.iter_mut().zip(exact).for_each(|(all, x)| all.push(x));
    }
    all
}

#[test]
fn steps_are_within_their_bounds() {
    for runtime in runtimes() {
        let (mut n_cases, mut largest) = (0, 0f64);
        for dtype in dtypes(&runtime) {
            for shape in SHAPES {
                for decay in [None, Some(0.9999)] {
                    largest = largest.max(run(&runtime, shape, dtype, decay));
                    n_cases += 1;
                }
            }
        }
        println!(
            "{}: {n_cases} cases of {N_STEPS} steps, {largest:.3} of the bound",
            runtime.name
        );
    }
}

#[derive(Module, Debug)]
struct Weights {
    matrix: Param<Tensor<2>>,
    vector: Param<Tensor<1>>,
}

/// Weights after some steps.
fn trained(mut optimizer: ModuleOptimizer, device: &Device) -> Vec<f64> {
    let (matrix, vector) = (
        sample([37, 20], 1.0, DType::F32),
        sample([19], 1.0, DType::F32),
    );
    let tracked = device.clone().autodiff();
    let mut weights = Weights {
        matrix: Param::from_tensor(Tensor::from_data(matrix, &tracked)),
        vector: Param::from_tensor(Tensor::from_data(vector, &tracked)),
    };
    for step in 1..=N_STEPS {
        let mut grads = GradientsParams::new();
        // One that lies transposed in memory.
        let matrix = sample([20, 37], 0.1 / step as f32, DType::F32);
        let matrix = Tensor::<2>::from_data(matrix, device).swap_dims(0, 1);
        grads.register(weights.matrix.id, matrix);
        let vector = sample([19], 0.1 / step as f32, DType::F32);
        grads.register(weights.vector.id, Tensor::<1>::from_data(vector, device));
        weights = optimizer.step(1e-3, weights, grads);
    }
    let mut values = floats(&weights.matrix.val().into_data());
    values.extend(floats(&weights.vector.val().into_data()));
    values
}

/// A step changes a weight by about the learning rate; both are off by a few roundings of that, and of
/// the weight.
#[test]
fn the_optimizer_is_that_of_burn() {
    let (_alone, devices) = devices();
    for (name, device) in devices {
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
            let expected = trained(burn, &device);
            let found = trained(adamw(&config), &device);
            for (found, expected) in found.into_iter().zip(expected) {
                let bound = f64::from(N_STEPS) * (4.0 * UNIT * expected.abs() + 64.0 * UNIT * 1e-3);
                let error = (found - expected).abs();
                assert!(error <= bound, "{name}: {found} {expected}");
            }
            println!("{name}: decay {weight_decay}");
        }
    }
}
