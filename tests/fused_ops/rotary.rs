use burn::tensor::{DType, Tensor};
use burn_gpt_oss::ops::rotary_embedding;

use crate::reference::{DTYPES, assert_close, assert_slope, exact, mixed, sample, unit, values};

/// The same from tensor operations.
fn plain(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let half = x.dims()[3] / 2;
    let (a, b) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
    let first = a.clone() * cos.clone() - b.clone() * sin.clone();
    Tensor::cat(vec![first, b * cos + a * sin], 3)
}

/// Tables of one or of all sequences; any numbers will do.
fn tables([batch, positions, _, dim]: [usize; 4], dtype: DType) -> [Tensor<4>; 2] {
    let all = sample([2 * batch, positions, 1, dim / 2], 1.3, dtype);
    [0, batch].map(|start| all.clone().narrow(0, start, batch))
}

/// Two products, one sum and the rounding to the dtype; on the way back the weights of the sum are
/// rounded to the dtype, too.
fn check(shape: [usize; 4], table_batch: usize, dtype: DType) {
    let what = format!("{shape:?} {table_batch} {dtype:?}");
    let [_, positions, heads, dim] = shape;
    let [cos, sin] = tables([table_batch, positions, heads, dim], dtype);
    let x = sample(shape, 1.0, dtype).require_grad();
    let exact_x = exact(&x);
    let found = rotary_embedding(x.clone(), cos.clone(), sin.clone());
    let wanted = plain(exact_x.clone(), exact(&cos), exact(&sin));
    assert_eq!(found.dtype(), dtype, "{what}: dtype");
    let limit = unit(dtype) + 4.0 * unit(DType::F32);
    assert_close(&what, &found, &wanted, limit);
    let found = x.grad(&mixed(found).backward()).unwrap();
    let wanted = exact_x.grad(&mixed(wanted).backward()).unwrap();
    assert_close(&format!("{what}, gradient"), &found, &wanted, 2.0 * limit);
}

#[test]
fn equals_the_plain_rotation() {
    for dtype in DTYPES {
        check([1, 1, 1, 2], 1, dtype);
        check([2, 1, 3, 8], 1, dtype);
        check([3, 37, 5, 22], 1, dtype);
        check([3, 37, 5, 22], 3, dtype);
    }
}

#[test]
fn the_way_back_is_the_negative_angle() {
    let angle = sample([1, 6, 1, 4], 3.0, DType::F32);
    let (cos, sin) = (angle.clone().cos(), angle.sin());
    let x = sample([2, 6, 3, 8], 1.0, DType::F32);
    let there = rotary_embedding(x.clone(), cos.clone(), sin.clone());
    let back = rotary_embedding(there, cos, sin.neg());
    assert_close("back", &back, &x, 16.0 * unit(DType::F32));
}

#[test]
fn takes_views_and_constants() {
    let turned = sample([2, 3, 6, 8], 1.0, DType::F32).swap_dims(1, 2);
    let [cos, sin] = tables([1, 6, 3, 8], DType::F32);
    let flat = Tensor::<4>::from_data(turned.clone().into_data(), &turned.device());
    let [found, wanted] =
        [turned, flat].map(|x| values(&rotary_embedding(x, cos.clone(), sin.clone())));
    assert_eq!(found, wanted);
}

#[test]
fn gradients_are_slopes() {
    let x = sample([2, 3, 2, 6], 1.0, DType::F32);
    let [cos, sin] = tables([1, 3, 2, 6], DType::F32);
    assert_slope("x", &x, |x| {
        mixed(rotary_embedding(x, cos.clone(), sin.clone()))
    });
}
