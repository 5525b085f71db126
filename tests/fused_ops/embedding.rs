use burn::tensor::{DType, Int, Tensor, TensorData};
use burn_gpt_oss::ops::embedding;

use crate::reference::{
    DTYPES, assert_close, assert_same_on_threads, device, exact, mixed, sample, unit, values,
};

/// Every third place has the same id, and some rows have no place.
fn ids(n: usize, vocab_size: usize) -> Tensor<1, Int> {
    let id = |place: usize| match place % 3 {
        0 => vocab_size / 2,
        _ => place * 31 % vocab_size,
    };
    let ids: Vec<i32> = (0..n).map(|place| id(place) as i32).collect();
    Tensor::from_data(TensorData::new(ids, [n]), &device())
}

/// Rows to the last bit; a gradient has as many roundings as a row has places, and one to the dtype.
#[test]
fn equals_selected_rows() {
    for dtype in DTYPES {
        for [vocab_size, width, n] in [[5, 3, 70], [1, 1, 2], [500, 16, 40], [300, 17, 513]] {
            let what = format!("[{vocab_size}, {width}], {n} places, {dtype:?}");
            let weight = sample([vocab_size, width], 1.0, dtype).require_grad();
            let exact = exact(&weight);
            let ids = ids(n, vocab_size);
            let found = embedding(weight.clone(), ids.clone());
            let wanted = exact.clone().select(0, ids);
            assert_eq!(found.dtype(), dtype, "{what}: dtype");
            assert_eq!(values(&found), values(&wanted), "{what}");

            let found = weight.grad(&mixed(found).backward()).unwrap();
            assert_eq!(found.dtype(), dtype, "{what}: dtype of the gradient");
            let wanted = exact.grad(&mixed(wanted).backward()).unwrap();
            // The weights of the sum are rounded to the dtype, too.
            let limit = n as f64 * unit(DType::F32) + 2.0 * unit(dtype);
            assert_close(&what, &found, &wanted, limit);
        }
    }
}

/// In float32 the order of a sum is that of Burn.
#[test]
fn gradients_have_the_bits_of_burn() {
    let ids = ids(200, 30);
    let weight = sample([30, 8], 1.0, DType::F32).require_grad();
    let gradient = |rows: Tensor<2>| values(&weight.grad(&mixed(rows).backward()).unwrap());
    let found = gradient(embedding(weight.clone(), ids.clone()));
    assert_eq!(found, gradient(weight.clone().select(0, ids)));
}

#[test]
fn takes_views() {
    let weight = sample([6, 9], 1.0, DType::F32);
    let turned = weight.clone().swap_dims(0, 1).require_grad();
    let rows = embedding(turned.clone(), ids(20, 9));
    let flat = Tensor::<2>::from_data(turned.clone().into_data(), &device());
    assert_eq!(values(&rows), values(&embedding(flat, ids(20, 9))));
    assert_eq!(turned.grad(&rows.sum().backward()).unwrap().dims(), [9, 6]);
}

#[test]
fn is_empty_without_places() {
    let weight = sample([4, 3], 1.0, DType::F32).require_grad();
    let rows = embedding(weight.clone(), ids(0, 4));
    assert_eq!(rows.dims(), [0, 3]);
    let gradient = weight.grad(&rows.sum().backward()).unwrap();
    assert!(values(&gradient).iter().all(|x| *x == 0.0));
}

#[test]
fn does_not_depend_on_threads() {
    let weight = sample([700, 16], 1.0, DType::F32).require_grad();
    assert_same_on_threads("embedding", || {
        let rows = embedding(weight.clone(), ids(3000, 700));
        vec![values(&weight.grad(&mixed(rows).backward()).unwrap())]
    });
}

#[test]
#[should_panic(expected = "not in the vocabulary")]
fn refuses_an_id_outside_of_the_vocabulary() {
    embedding(sample([4, 2], 1.0, DType::F32), ids(9, 6));
}
