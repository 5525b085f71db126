//! What must hold exactly.

use burn::tensor::{DType, Device, Tensor};
use burn_gpt_oss::ops::{Visibility, sink_attention};

use crate::case::{Case, Tensors, assert_close, sample};
use crate::model::values;

fn device() -> Device {
    Device::flex().autodiff()
}

#[test]
fn queries_that_see_nothing_give_zeros() {
    let case = Case::new("padding", 2, 80, Some(8)).padded(&[[20, 0], [80, 0]]);
    let found = case.run(&case.tensors(&device()));
    let row = case.heads * case.dim;
    let (first, second) = found.output.split_at(case.len * row);
    assert!(first[..20 * row].iter().all(|x| *x == 0.0));
    assert!(first[20 * row..].iter().all(|x| *x != 0.0));
    assert!(second.iter().all(|x| *x == 0.0));
    for gradient in &found.gradients {
        assert!(gradient.iter().all(|x| x.is_finite()));
    }
    for gradient in &found.gradients[..3] {
        let (_, second) = gradient.split_at(gradient.len() / 2);
        assert!(second.iter().all(|x| *x == 0.0));
    }
}

#[test]
fn a_sink_of_minus_infinity_is_none() {
    let device = device();
    let case = Case::new("no sink", 1, 40, None).padded(&[[3, 0]]);
    let mut tensors = case.tensors(&device);
    tensors.sinks = Tensor::full([case.heads], f32::NEG_INFINITY, &device);
    tensors.value = Tensor::ones(tensors.value.dims(), &device);
    let found = case.run(&tensors);
    let hidden = 3 * case.heads * case.dim;
    assert!(found.output[..hidden].iter().all(|x| *x == 0.0));
    let seen = &found.output[hidden..];
    // Weights of at most 37 keys that sum to one.
    assert!(seen.iter().all(|x| (x - 1.0).abs() < 37.0 * f32::EPSILON));
    assert!(found.gradients[3].iter().all(|x| *x == 0.0));
}

#[test]
fn results_do_not_depend_on_threads() {
    let case = Case::new("threads", 2, 200, Some(70)).heads(8, 4);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let found = case.run(&case.tensors(&device()));
            [found.gradients.concat(), found.output].concat()
        })
    };
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(run(1)), bits(run(3)));
}

#[test]
fn half_precision_is_that_of_float32_rounded() {
    let device = device();
    let case = Case::new("half", 2, 90, Some(50)).dim(16);
    for (dtype, unit) in [(DType::BF16, 2f64.powi(-9)), (DType::F16, 2f64.powi(-12))] {
        let full = case.tensors(&device);
        let half = Tensors {
            query: full.query.cast(dtype),
            key: full.key.cast(dtype),
            value: full.value.cast(dtype),
            sinks: full.sinks.cast(dtype),
            grad: full.grad.cast(dtype),
        };
        let widened = Tensors {
            query: half.query.clone().cast(DType::F32),
            key: half.key.clone().cast(DType::F32),
            value: half.value.clone().cast(DType::F32),
            sinks: half.sinks.clone().cast(DType::F32),
            grad: half.grad.clone().cast(DType::F32),
        };
        let (found, expected) = (case.run(&half), case.run(&widened));
        let rounded = |values: &[f32]| {
            let values = Tensor::<1>::from_floats(values, &device);
            crate::model::values(&values.cast(dtype))
        };
        assert_eq!(found.output, rounded(&expected.output));
        assert_eq!(found.gradients[2], rounded(&expected.gradients[2]));
        // The backward pass reads the rounded output, whose product with the gradient has 16 terms.
        for i in [0, 1, 3] {
            let (found, expected) = (&found.gradients[i], &expected.gradients[i]);
            assert_close("gradient", found, expected, 16.0 * unit);
        }
    }
}

#[test]
fn sinks_may_stay_in_float32() {
    let device = device();
    let case = Case::new("mixed", 1, 20, None);
    let tensors = case.tensors(&device);
    let half = |x: Tensor<4>| x.cast(DType::BF16);
    let attend = |sinks: Tensor<1>| {
        let (query, key, value) = (&tensors.query, &tensors.key, &tensors.value);
        let [query, key, value] = [query, key, value].map(|x| half(x.clone()));
        sink_attention(query, key, value, sinks, &Visibility::causal(), 0.3)
    };
    let sinks = tensors.sinks.clone().cast(DType::BF16);
    let wide = attend(sinks.clone().cast(DType::F32));
    assert_eq!(wide.dtype(), DType::BF16);
    assert_eq!(values(&wide), values(&attend(sinks)));
}

#[test]
fn untracked_inputs_change_no_other_gradient() {
    let case = Case::new("frozen", 1, 50, None);
    let tensors = case.tensors(&device());
    let all = case.run(&tensors);
    let visibility = case.visibility(&tensors.query.device());
    let Tensors {
        query,
        key,
        value,
        sinks,
        grad,
    } = tensors;
    let tracked = key.detach().require_grad();
    let (query, value, sinks) = (query.detach(), value.detach(), sinks.detach());
    let scale = case.scale();
    let output = sink_attention(
        query.clone(),
        tracked.clone(),
        value.clone(),
        sinks.clone(),
        &visibility,
        scale,
    );
    assert_eq!(values(&output), all.output);
    let grads = (output * grad).sum().backward();
    assert_eq!(values(&tracked.grad(&grads).unwrap()), all.gradients[1]);
    let plain = sink_attention(
        query.inner(),
        tracked.inner(),
        value.inner(),
        sinks.inner(),
        &case.visibility(&Device::flex()),
        scale,
    );
    assert_eq!(values(&plain), all.output);
}

#[test]
fn views_are_read_where_they_are() {
    let device = Device::flex();
    let case = Case::new("views", 2, 30, Some(12));
    let tensors = case.tensors(&device);
    let attend = |query, key, value| {
        let visibility = case.visibility(&device);
        values(&sink_attention(
            query,
            key,
            value,
            tensors.sinks.clone(),
            &visibility,
            1.0,
        ))
    };
    let turned = |x: &Tensor<4>| x.clone().swap_dims(1, 2).mul_scalar(1.0).swap_dims(1, 2);
    let padded = |x: &Tensor<4>| {
        let more = sample(9, x.dims(), &device);
        Tensor::cat(vec![more, x.clone()], 3).narrow(3, case.dim, case.dim)
    };
    let Tensors {
        query, key, value, ..
    } = &tensors;
    assert_eq!(
        attend(query.clone(), key.clone(), value.clone()),
        attend(turned(query), padded(key), turned(value))
    );
}

fn attend(query: [usize; 4], key: [usize; 4], sinks: usize, visibility: &Visibility) {
    let device = Device::flex();
    let (query, key) = (sample(1, query, &device), sample(2, key, &device));
    sink_attention(
        query,
        key.clone(),
        key,
        sample(3, [sinks], &device),
        visibility,
        1.0,
    );
}

#[test]
#[should_panic(expected = "5 query heads cannot share 2 key heads")]
fn uneven_groups_are_refused() {
    attend([1, 3, 5, 8], [1, 3, 2, 8], 5, &Visibility::causal());
}

#[test]
#[should_panic(expected = "one sink per query head")]
fn missing_sinks_are_refused() {
    attend([1, 3, 4, 8], [1, 3, 2, 8], 3, &Visibility::causal());
}

#[test]
#[should_panic(expected = "behind the last key")]
fn missing_keys_are_refused() {
    let visibility = Visibility::causal().with_first_query(1);
    attend([1, 3, 4, 8], [1, 3, 2, 8], 4, &visibility);
}
