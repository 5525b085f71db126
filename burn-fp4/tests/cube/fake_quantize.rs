//! Fake quantization by kernels, bit for bit that of Flex, on every runtime there is.

use crate::cases::{assert_same_bits, data, numbers};
use crate::views::{DTYPES, for_all};
use burn::backend::Flex;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Slice, TensorData};
use burn_cubecl::CubeBackend;
use burn_flex::FlexTensor;
use burn_fp4::backend::Fp4Backend;
use burn_fp4::{Fp4Scheme, GradientRule, Nvfp4ScaleRule, ScaleRule};
use kernel_harness::runtimes::{read, runtimes};

#[test]
fn fake_quantization_has_the_bits_of_flex() {
    for runtime in runtimes() {
        let n_cases = for_all(&runtime, |data, view, axis, scheme, what| {
            let tensor = view.flex(data);
            let amax = Flex::fp4_amax(tensor.clone(), scheme);
            let rule = GradientRule::StraightThrough;
            let expected = Flex::fp4_fake_quantize(tensor, amax.clone(), axis, scheme, rule);

            let tensor = view.cube(data, &runtime);
            let found = CubeBackend::fp4_amax(tensor.clone(), scheme);
            let amax = amax.into_data();
            assert_same_bits(&read(found), &amax, &format!("amax of {what}"));
            let amax = runtime.tensor(amax);
            let found = CubeBackend::fp4_fake_quantize(tensor, amax, axis, scheme, rule);
            assert_same_bits(&read(found), &expected.into_data(), what);
        });
        println!("{}: {n_cases} cases", runtime.name);
    }
}

#[test]
fn frozen_magnitudes_far_from_those_of_the_tensor() {
    let amax = [0.0, 1e-45, 1e-40, 3e-36, 1e-30, 0.37, 6e4, 1e30, f32::MAX];
    for runtime in runtimes() {
        let mut n_cases = 0;
        for (i, amax) in amax.into_iter().enumerate() {
            for dtype in DTYPES.into_iter().filter(|&dtype| runtime.has(dtype)) {
                for (shape, axis) in [(vec![40, 64], 1), (vec![64, 38], 0)] {
                    let data = data(&numbers(shape.iter().product(), i as u64), &shape, dtype);
                    let scheme = Fp4Scheme::nvfp4();
                    let rule = GradientRule::StraightThrough;
                    let amax = TensorData::new(vec![amax], [1]);
                    let tensor = FlexTensor::from_data(data.clone());
                    let scale = FlexTensor::from_data(amax.clone());
                    let expected = Flex::fp4_fake_quantize(tensor, scale, axis, scheme, rule);
                    let (tensor, scale) = (runtime.tensor(data), runtime.tensor(amax.clone()));
                    let found = CubeBackend::fp4_fake_quantize(tensor, scale, axis, scheme, rule);
                    let what = format!("{}: {amax:?}, {dtype:?}, axis {axis}", runtime.name);
                    assert_same_bits(&read(found), &expected.into_data(), &what);
                    n_cases += 1;
                }
            }
        }
        println!("{}: {n_cases} cases", runtime.name);
    }
}

#[test]
fn clipped_gradients_have_the_bits_of_flex() {
    for runtime in runtimes() {
        let n_cases = for_all(&runtime, |data, view, axis, scheme, what| {
            let values: Vec<f32> = (0..data.num_elements()).map(|i| i as f32 + 1.5).collect();
            let grad = crate::cases::data(&values, data.shape(), data.dtype());
            let tensor = view.flex(data);
            let amax = TensorData::new(
                vec![0.7f32; amax_len(&tensor, scheme)],
                [amax_len(&tensor, scheme)],
            );
            let scale = FlexTensor::from_data(amax.clone());
            let expected = Flex::fp4_clip_gradient(view.flex(&grad), tensor, scale, axis, scheme);
            let found = CubeBackend::fp4_clip_gradient(
                view.cube(&grad, &runtime),
                view.cube(data, &runtime),
                runtime.tensor(amax),
                axis,
                scheme,
            );
            assert_same_bits(&read(found), &expected.into_data(), what);
        });
        println!("{}: {n_cases} cases", runtime.name);
    }
}

fn amax_len(tensor: &FlexTensor, scheme: Fp4Scheme) -> usize {
    use burn::backend::TensorMetadata;
    scheme.n_global_scales(&tensor.shape()).max(1)
}

/// A word of two floats whose second half is the neighbour of a view, or nothing at all.
#[test]
fn magnitudes_of_an_odd_number_of_floats() {
    for runtime in runtimes() {
        // Such tensors are widened, for which a runtime needs their type.
        let has = |dtype: &DType| *dtype != DType::BF16 || runtime.name == "cpu";
        for dtype in DTYPES.into_iter().filter(has) {
            let values: Vec<f32> = (0..25).map(|i| i as f32 * 0.37).collect();
            let data = data(&values, &[5, 5], dtype);
            for rows in [0..1, 1..2, 2..5, 0..5] {
                let slices = [Slice::from(rows.clone()), Slice::full()];
                let tensor = FlexTensor::from_data(data.clone());
                let expected =
                    Flex::fp4_amax(Flex::float_slice(tensor, &slices), Fp4Scheme::nvfp4());
                let tensor = CubeBackend::float_slice(runtime.tensor(data.clone()), &slices);
                let found = CubeBackend::fp4_amax(tensor, Fp4Scheme::nvfp4());
                let what = format!("{}: {dtype:?}, rows {rows:?}", runtime.name);
                assert_same_bits(&read(found), &expected.into_data(), &what);
            }
        }
    }
}

#[test]
fn fp8_has_the_bits_of_flex() {
    for runtime in runtimes() {
        let mut n_cases = 0;
        for amax in [0.0f32, 5.96e-8, 6e-8, 1e-3, 2.7, 448.0, 1e30] {
            for dtype in DTYPES.into_iter().filter(|&dtype| runtime.has(dtype)) {
                for shape in [vec![1000], vec![3, 7, 11], vec![40, 32]] {
                    let data = data(&numbers(shape.iter().product(), 5), &shape, dtype);
                    let scale = TensorData::new(vec![amax], [1]);
                    let expected = Flex::fp8_fake_quantize(
                        FlexTensor::from_data(data.clone()),
                        FlexTensor::from_data(scale.clone()),
                    );
                    let (tensor, scale) = (runtime.tensor(data), runtime.tensor(scale));
                    let found = CubeBackend::fp8_fake_quantize(tensor, scale);
                    let what = format!("{}: fp8, {amax:e}, {dtype:?}, {shape:?}", runtime.name);
                    assert_same_bits(&read(found), &expected.into_data(), &what);
                    n_cases += 1;
                }
            }
        }
        println!("{}: {n_cases} cases", runtime.name);
    }
}

/// Rules that search have no kernel; the host stands in.
#[test]
fn searching_rules_work() {
    let schemes = [
        Fp4Scheme::mxfp4_with(ScaleRule::Mse),
        Fp4Scheme::nvfp4_with(Nvfp4ScaleRule::FourOverSix),
    ];
    for runtime in runtimes() {
        for scheme in schemes {
            let data = data(&numbers(640, 3), &[10, 64], DType::F32);
            let tensor = FlexTensor::from_data(data.clone());
            let amax = Flex::fp4_amax(tensor.clone(), scheme);
            let rule = GradientRule::StraightThrough;
            let expected = Flex::fp4_fake_quantize(tensor, amax.clone(), 1, scheme, rule);
            let (tensor, amax) = (runtime.tensor(data), runtime.tensor(amax.into_data()));
            let found = CubeBackend::fp4_fake_quantize(tensor, amax, 1, scheme, rule);
            assert_same_bits(&read(found), &expected.into_data(), runtime.name);
        }
    }
}

#[test]
fn rows_that_end_with_an_axis_of_one() {
    for runtime in runtimes() {
        for dtype in DTYPES.into_iter().filter(|&dtype| runtime.has(dtype)) {
            let (shape, scheme) = ([64, 3, 1], Fp4Scheme::mxfp4());
            let values = data(&numbers(192, 7), &shape, dtype);
            let rule = GradientRule::StraightThrough;
            let tensor = FlexTensor::from_data(values.clone());
            let amax = Flex::fp4_amax(tensor.clone(), scheme);
            let expected = Flex::fp4_fake_quantize(tensor, amax, 0, scheme, rule);
            let tensor = runtime.tensor(values);
            let amax = CubeBackend::fp4_amax(tensor.clone(), scheme);
            let found = CubeBackend::fp4_fake_quantize(tensor, amax, 0, scheme, rule);
            let what = format!("{}: {dtype:?}", runtime.name);
            assert_same_bits(&read(found), &expected.into_data(), &what);
        }
    }
}
