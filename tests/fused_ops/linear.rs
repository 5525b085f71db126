use burn::tensor::{DType, Tensor};
use burn_fp4::linear;

use crate::reference::{
    DTYPES, assert_close, assert_same_on_threads, assert_slope, assert_within, device, exact,
    largest, mixed, sample, unit, values,
};

/// The same from tensor operations.
fn plain<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    let products = x.matmul(weight.unsqueeze());
    match bias {
        Some(bias) => products + bias.unsqueeze(),
        None => products,
    }
}

/// The rounding of a sum of `terms` products of elements of two tensors, in any order, and of the result.
fn limit(terms: usize, a: f64, b: f64, dtype: DType) -> f64 {
    let sum = terms as f64 * a * b;
    sum * ((terms + 2) as f64 * unit(DType::F32) + unit(dtype))
}

fn check<const D: usize>(what: &str, x: Tensor<D>, d_output: usize, with_bias: bool) {
    let (dtype, dims) = (x.dtype(), x.dims());
    let (d_input, n_rows) = (dims[D - 1], dims[..D - 1].iter().product::<usize>());
    let x = x.require_grad();
    let weight = sample([d_input, d_output], 1.0, dtype).require_grad();
    let bias = with_bias.then(|| sample([d_output], 2.0, dtype).require_grad());
    let found = linear(x.clone(), weight.clone(), bias.clone());
    let exact_inputs = (exact(&x), exact(&weight), bias.as_ref().map(exact));
    let (exact_x, exact_weight, exact_bias) = exact_inputs;
    let wanted = plain(exact_x.clone(), exact_weight.clone(), exact_bias.clone());
    assert_eq!(found.dtype(), dtype, "{what}: dtype");
    let (of_x, of_weight) = (largest(&x), largest(&weight));
    let most = limit(d_input, of_x, of_weight, dtype) + 2.0 * unit(dtype);
    assert_within(what, &found, &wanted, most);

    // Gradients of the output are at most one.
    let found = mixed(found).backward();
    let wanted = mixed(wanted).backward();
    // The weights of the sum are rounded to the dtype of the output.
    let rounded = |terms: usize, of: f64| {
        limit(terms, 1.0, of, dtype) * 2.0 + terms as f64 * of * unit(dtype)
    };
    let pair = (x.grad(&found).unwrap(), exact_x.grad(&wanted).unwrap());
    assert_eq!(pair.0.dtype(), dtype, "{what}: dtype of a gradient");
    assert_within(
        &format!("{what}, x"),
        &pair.0,
        &pair.1,
        rounded(d_output, of_weight),
    );
    let pair = (
        weight.grad(&found).unwrap(),
        exact_weight.grad(&wanted).unwrap(),
    );
    assert_within(
        &format!("{what}, weight"),
        &pair.0,
        &pair.1,
        rounded(n_rows, of_x),
    );
    if let (Some(bias), Some(exact)) = (bias, exact_bias) {
        let pair = (bias.grad(&found).unwrap(), exact.grad(&wanted).unwrap());
        assert_within(
            &format!("{what}, bias"),
            &pair.0,
            &pair.1,
            rounded(n_rows, 1.0),
        );
    }
}

#[test]
fn equals_the_plain_product() {
    for dtype in DTYPES {
        for bias in [false, true] {
            let check_2d = |name: &str, [rows, d_input, d_output]: [usize; 3]| {
                let what = format!("{name}, {dtype:?}, bias: {bias}");
                check(&what, sample([rows, d_input], 1.0, dtype), d_output, bias);
            };
            check_2d("one row", [1, 45, 33]);
            check_2d("one term", [7, 1, 5]);
            check_2d("one column", [9, 13, 1]);
            check_2d("many rows", [1000, 16, 24]);
            check_2d("blocks", [300, 130, 120]);
            let what = format!("3 axes, {dtype:?}, bias: {bias}");
            check(&what, sample([3, 7, 33], 1.0, dtype), 12, bias);
        }
    }
}

/// More than one block of work, so that threads share the product itself.
#[test]
fn large_products_are_right_too() {
    let (x, weight) = (
        sample([640, 512], 1.0, DType::F32),
        sample([512, 512], 1.0, DType::F32),
    );
    let bias = sample([512], 1.0, DType::F32);
    let found = linear(x.clone(), weight.clone(), Some(bias.clone()));
    let wanted = plain(exact(&x), exact(&weight), Some(exact(&bias)));
    assert_within("large", &found, &wanted, limit(512, 1.0, 1.0, DType::F32));
}

#[test]
fn no_rows_and_no_terms() {
    let weight = sample([6, 4], 1.0, DType::F32);
    let bias = sample([4], 1.0, DType::F32);
    let found = linear(sample([0, 6], 1.0, DType::F32), weight, Some(bias.clone()));
    assert_eq!(found.dims(), [0, 4]);
    let nothing = Tensor::<2>::zeros([3, 0], &device());
    let weight = Tensor::<2>::zeros([0, 4], &device());
    let found = linear(nothing, weight, Some(bias.clone()));
    let wanted = bias.unsqueeze::<2>().expand([3, 4]);
    assert_eq!(values(&found), values(&wanted));
}

#[test]
fn takes_views_and_constants() {
    let turned = sample([16, 9], 1.0, DType::F32).swap_dims(0, 1);
    let weight = sample([5, 16], 1.0, DType::F32).swap_dims(0, 1);
    let x = turned.clone().require_grad();
    let output = linear(x.clone(), weight.clone(), None);
    let flat = Tensor::<2>::from_data(turned.into_data(), &device());
    let plain_weight = Tensor::<2>::from_data(weight.into_data(), &device());
    let wanted = linear(flat, plain_weight, None);
    assert_close("views", &output, &wanted, 16.0 * unit(DType::F32));
    assert!(x.grad(&output.sum().backward()).is_some());
}

#[test]
fn gradients_are_slopes() {
    let (x, weight) = (
        sample([4, 12], 1.0, DType::F32),
        sample([12, 7], 1.0, DType::F32),
    );
    let bias = sample([7], 1.0, DType::F32);
    assert_slope("x", &x, |x| {
        mixed(linear(x, weight.clone(), Some(bias.clone())))
    });
    assert_slope("weight", &weight, |weight| {
        mixed(linear(x.clone(), weight, Some(bias.clone())))
    });
    assert_slope("bias", &bias, |bias| {
        mixed(linear(x.clone(), weight.clone(), Some(bias)))
    });
}

#[test]
fn does_not_depend_on_threads() {
    for [rows, d_input, d_output] in [[700, 48, 64], [512, 512, 600]] {
        let x = sample([rows, d_input], 1.0, DType::F32).require_grad();
        let weight = sample([d_input, d_output], 1.0, DType::F32).require_grad();
        let bias = sample([d_output], 1.0, DType::F32).require_grad();
        assert_same_on_threads("linear", || {
            let output = linear(x.clone(), weight.clone(), Some(bias.clone()));
            let found = values(&output);
            let grads = mixed(output).backward();
            vec![
                found,
                values(&x.grad(&grads).unwrap()),
                values(&weight.grad(&grads).unwrap()),
                values(&bias.grad(&grads).unwrap()),
            ]
        });
    }
}

#[test]
#[should_panic(expected = "dtype of the bias")]
fn refuses_a_bias_of_another_dtype_than_the_rows() {
    let (x, weight) = (
        sample([2, 8], 1.0, DType::F32),
        sample([8, 4], 1.0, DType::BF16),
    );
    linear(x, weight, Some(sample([4], 1.0, DType::BF16)));
}
