//! Every row against the product with its expert alone.

use burn::tensor::{DType, Device, FloatDType, TensorData};

use super::*;
use crate::packed::PackedFp4;
use crate::product::fp4_linear::fp4_linear;
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalScope;

const SCHEMES: [Fp4Scheme; 3] = [
    Fp4Scheme::mxfp4(),
    Fp4Scheme::nvfp4(),
    Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert),
];

/// Unsorted, with an expert (2) that has no rows.
const EXPERTS: [i64; 7] = [3, 0, 1, 3, 0, 0, 1];

fn sample<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let n_elements = shape.iter().product::<usize>();
    let values = (0..n_elements).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 97.0);
    Tensor::from_data(TensorData::new(values.collect::<Vec<_>>(), shape), device)
}

/// Experts of different sizes, so that their global scales differ.
fn weight(scheme: &Fp4Scheme, device: &Device) -> Fp4Tensor<3> {
    let sizes = Tensor::<1>::from_floats([1.0, 0.3, 2.0, 0.01], device);
    let dense = sample([4, 5, 64], device) * sizes.reshape([4, 1, 1]);
    Fp4Tensor::quantize(dense, 2, scheme)
}

/// The weight of one expert by itself.
fn expert(weight: &Fp4Tensor<3>, index: usize, device: &Device) -> Fp4Tensor<2> {
    let packed = weight.to_packed().unwrap();
    let part = |bytes: &[u8]| {
        let len = bytes.len() / 4;
        bytes[index * len..(index + 1) * len].to_vec()
    };
    let global_scales = match packed.global_scales() {
        [] => vec![],
        [scale] => vec![*scale],
        scales => vec![scales[index]],
    };
    let scheme = packed.scheme().with_global_scope(GlobalScope::Tensor);
    let (codes, scales) = (part(packed.codes()), part(packed.scales()));
    let shape = vec![5, 64];
    let packed = PackedFp4::from_parts_with_global(scheme, shape, codes, scales, global_scales);
    Fp4Tensor::from_packed(packed.unwrap(), device).unwrap()
}

fn indices(values: &[i64], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

/// Distance of numbers, relative.
fn last_place(dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => 2f64.powi(-7),
        DType::F16 => 2f64.powi(-10),
        _ => 0.0,
    }
}

#[test]
fn every_row_meets_its_expert() {
    let device = Device::flex();
    for scheme in SCHEMES {
        let weight = weight(&scheme, &device);
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let x = sample([7, 64], &device).cast(dtype);
            let out = fp4_expert_linear(x.clone(), indices(&EXPERTS, &device), &weight);
            assert_eq!((out.dims(), out.dtype()), ([7, 5], dtype));
            for (i, &index) in EXPERTS.iter().enumerate() {
                let alone = expert(&weight, index as usize, &device);
                let wanted = fp4_linear(x.clone().slice(i..i + 1), &alone, None);
                let found = out.clone().slice(i..i + 1);
                // Rows that are multiplied together have their sums in another order.
                let magnitudes = x
                    .clone()
                    .slice(i..i + 1)
                    .cast(DType::F32)
                    .abs()
                    .matmul(alone.dequantize(0, FloatDType::F32).abs());
                let values = [found, wanted, magnitudes]
                    .map(|t| t.into_data().iter::<f64>().collect::<Vec<_>>());
                for ((found, wanted), magnitude) in values[0].iter().zip(&values[1]).zip(&values[2])
                {
                    let bound =
                        2.0 * 64.0 * 2f64.powi(-24) * magnitude + last_place(dtype) * wanted.abs();
                    assert!(
                        (found - wanted).abs() <= bound,
                        "{found} {wanted} {dtype:?}"
                    );
                }
            }
        }
    }
}

/// The product is linear, so the gradient of `sum(y * u)` is `u` times the decoded weight.
#[test]
fn the_gradient_goes_to_the_rows() {
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        for scheme in SCHEMES {
            let weight = weight(&scheme, &device);
            let x = sample([7, 64], &device).require_grad();
            let u = sample([7, 5], &device) * 0.37 + 1.1;
            let out = fp4_expert_linear(x.clone(), indices(&EXPERTS, &device), &weight);
            let grads = (out * u.clone()).sum().backward();
            let found = x.grad(&grads).unwrap();
            let dense = weight.dequantize(2, FloatDType::F32).inner();
            for (i, &index) in EXPERTS.iter().enumerate() {
                let index = index as usize;
                let expert = dense.clone().slice(index..index + 1).reshape([5, 64]);
                let terms = u.clone().inner().slice(i..i + 1).swap_dims(0, 1) * expert;
                let wanted = terms.clone().sum_dim(0);
                let bound = terms.abs().sum_dim(0) * (10.0 * 2f32.powi(-24));
                let error = (found.clone().slice(i..i + 1) - wanted).abs() - bound;
                assert!(error.max().into_scalar::<f32>() <= 0.0);
            }
        }
    }
}

#[test]
#[should_panic(expected = "expert 4 of 4")]
fn what_is_no_expert_is_refused() {
    let device = Device::flex();
    let weight = weight(&Fp4Scheme::nvfp4(), &device);
    fp4_expert_linear(
        sample([3, 64], &device),
        indices(&[0, 4, 1], &device),
        &weight,
    );
}

#[test]
fn nothing_times_something_is_zeros() {
    let device = Device::flex();
    for [n, k, m] in [[0, 64, 5], [3, 0, 5], [3, 64, 0]] {
        let weight = Fp4Tensor::quantize(sample([2, m, k], &device), 2, &Fp4Scheme::mxfp4());
        let out = fp4_expert_linear(
            sample([n, k], &device),
            indices(&vec![1; n], &device),
            &weight,
        );
        assert_eq!(out.dims(), [n, m]);
        let values: Vec<f32> = out.into_data().try_into_vec().unwrap();
        assert_eq!(values, vec![0.0; n * m]);
    }
}

#[test]
#[should_panic(expected = "2 expert indices for 3 rows")]
fn every_row_needs_an_expert() {
    let device = Device::flex();
    let weight = weight(&Fp4Scheme::mxfp4(), &device);
    fp4_expert_linear(sample([3, 64], &device), indices(&[0, 1], &device), &weight);
}

#[test]
#[should_panic(expected = "does not fit a weight [4, 5, 64]")]
fn rows_of_another_length_panic() {
    let device = Device::flex();
    let weight = weight(&Fp4Scheme::mxfp4(), &device);
    fp4_expert_linear(sample([1, 32], &device), indices(&[0], &device), &weight);
}
