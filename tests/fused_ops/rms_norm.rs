use burn::tensor::{DType, Tensor};
use burn_gpt_oss::ops::rms_norm;

use crate::reference::{
    DTYPES, assert_close, assert_same_on_threads, assert_slope, assert_within, device, exact,
    largest, mixed, sample, unit, values,
};

const EPSILON: f64 = 1e-5;

/// The same from tensor operations.
fn plain<const D: usize>(input: Tensor<D>, weight: Tensor<1>) -> Tensor<D> {
    let mean_square = input.clone().square().mean_dim(D - 1);
    input / (mean_square + EPSILON).sqrt() * weight.unsqueeze()
}

/// `size` roundings of a sum, and those of a row's few steps; the gradient of the weight sums over
/// the rows.
fn check<const D: usize>(what: &str, input: Tensor<D>) {
    let dtype = input.dtype();
    let size = input.dims()[D - 1];
    let n_rows = input.dims()[..D - 1].iter().product::<usize>();
    let input = input.require_grad();
    let weight = sample([size], 2.0, DType::F32).require_grad();
    let (exact_input, exact_weight) = (exact(&input), exact(&weight));
    let found = rms_norm(input.clone(), weight.clone(), EPSILON);
    let wanted = plain(exact_input.clone(), exact_weight.clone());
    assert_eq!(found.dtype(), dtype, "{what}: dtype");
    let rounding = (size + 8) as f64 * unit(DType::F32) + unit(dtype);
    assert_close(what, &found, &wanted, rounding);

    let found = mixed(found).backward();
    let wanted = mixed(wanted).backward();
    // The weights of the sum are rounded to the dtype of the output, too.
    let limit = 2.0 * unit(dtype) + (size + n_rows + 8) as f64 * unit(DType::F32);
    let gradient = input.grad(&found).unwrap();
    assert_eq!(gradient.dtype(), dtype, "{what}: dtype of the gradient");
    let wanted_gradient = exact_input.grad(&wanted).unwrap();
    // Both terms of this gradient may cancel: rounding is relative to the first.
    let roots = (exact_input.square().mean_dim(D - 1) + EPSILON).sqrt();
    let terms = exact_weight.clone().unsqueeze::<D>().div(roots);
    let limit_input = limit * largest(&terms);
    let what_input = format!("{what}, input");
    assert_within(&what_input, &gradient, &wanted_gradient, limit_input);
    let gradient = weight.grad(&found).unwrap();
    let wanted_gradient = exact_weight.grad(&wanted).unwrap();
    assert_close(
        &format!("{what}, weight"),
        &gradient,
        &wanted_gradient,
        limit,
    );
}

#[test]
fn equals_the_plain_norm() {
    for dtype in DTYPES {
        check(&format!("one row {dtype:?}"), sample([1, 45], 1.0, dtype));
        check(
            &format!("one channel {dtype:?}"),
            sample([5, 1], 1.0, dtype),
        );
        check(&format!("blocks {dtype:?}"), sample([130, 64], 3.0, dtype));
        check(&format!("3 axes {dtype:?}"), sample([3, 7, 33], 1.0, dtype));
    }
}

/// Where the root is that of epsilon alone.
#[test]
fn is_zero_for_zeros() {
    let input = Tensor::<2>::zeros([2, 8], &device()).require_grad();
    let weight = sample([8], 1.0, DType::F32);
    let output = rms_norm(input.clone(), weight.clone(), EPSILON);
    assert!(values(&output).iter().all(|x| *x == 0.0));
    let gradient = input.grad(&output.sum().backward()).unwrap();
    let wanted = weight.inner().unsqueeze::<2>().expand([2, 8]) / EPSILON.sqrt();
    assert_close("gradient", &gradient, &wanted, 8.0 * unit(DType::F32));
}

/// As every step of the plain norm rounds in float32, half precision gives the same bits.
#[test]
fn gives_the_bits_of_the_plain_norm() {
    for dtype in [DType::BF16, DType::F16] {
        let input = sample([97, 64], 2.0, dtype);
        let weight = sample([64], 1.0, DType::F32);
        let found = rms_norm(input.clone(), weight.clone(), EPSILON);
        let wanted = plain(input.cast(DType::F32), weight).cast(dtype);
        assert_eq!(values(&found), values(&wanted), "{dtype:?}");
    }
}

#[test]
fn takes_views_and_constants() {
    let turned = sample([16, 9], 1.0, DType::F32).swap_dims(0, 1);
    let input = turned.clone().require_grad();
    let weight = sample([16], 1.0, DType::F32);
    let output = rms_norm(input.clone(), weight.clone(), EPSILON);
    let flat = Tensor::<2>::from_data(turned.into_data(), &device());
    let wanted = rms_norm(flat, weight, EPSILON);
    assert_eq!(values(&output), values(&wanted));
    assert!(input.grad(&output.sum().backward()).is_some());
}

#[test]
fn gradients_are_slopes() {
    let (input, weight) = (
        sample([4, 12], 1.0, DType::F32),
        sample([12], 1.0, DType::F32),
    );
    assert_slope("input", &input, |x| {
        mixed(rms_norm(x, weight.clone(), EPSILON))
    });
    assert_slope("weight", &weight, |w| {
        mixed(rms_norm(input.clone(), w, EPSILON))
    });
}

#[test]
fn does_not_depend_on_threads() {
    let input = sample([500, 48], 1.0, DType::F32).require_grad();
    let weight = sample([48], 1.0, DType::F32).require_grad();
    assert_same_on_threads("norm", || {
        let grads = mixed(rms_norm(input.clone(), weight.clone(), EPSILON)).backward();
        vec![
            values(&input.grad(&grads).unwrap()),
            values(&weight.grad(&grads).unwrap()),
        ]
    });
}
