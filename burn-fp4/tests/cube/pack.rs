//! Packing and decoding by kernels, bit for bit those of Flex, on every runtime there is.

use crate::cases::{Random, assert_same_bits, data, numbers};
use crate::views::{DTYPES, for_all};
use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, FloatDType, Slice, TensorData};
use burn_cubecl::CubeBackend;
use burn_flex::FlexTensor;
use burn_fp4::backend::{Fp4Backend, Fp4Primitive};
use burn_fp4::{Fp4Scheme, GlobalScope, Nvfp4ScaleRule, ScaleRule};
use kernel_harness::runtimes::{TestRuntime, read, runtimes};

const FLOATS: [FloatDType; 3] = [FloatDType::F32, FloatDType::BF16, FloatDType::F16];

fn assert_same(found: Fp4Primitive<CubeBackend>, expected: Fp4Primitive<Flex>, what: &str) {
    let pairs = [
        (found.codes, expected.codes, "codes"),
        (found.scales, expected.scales, "scales"),
        (found.global_scales, expected.global_scales, "global scales"),
    ];
    for (found, expected, part) in pairs {
        assert_same_bits(
            &read(found),
            &expected.into_data(),
            &format!("{part} of {what}"),
        );
    }
}

#[test]
fn packed_bytes_are_those_of_flex() {
    for runtime in runtimes() {
        let n_cases = for_all(&runtime, |data, view, axis, scheme, what| {
            let tensor = view.flex(data);
            let amax = Flex::fp4_amax(tensor.clone(), scheme);
            let expected = Flex::fp4_quantize(tensor, amax.clone(), axis, scheme);
            let amax = runtime.tensor(amax.into_data());
            let tensor = view.cube(data, &runtime);
            assert_same(
                CubeBackend::fp4_quantize(tensor, amax, axis, scheme),
                expected,
                what,
            );
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
                    let what = format!("{}: {amax:e}, {dtype:?}, axis {axis}", runtime.name);
                    let amax = TensorData::new(vec![amax], [1]);
                    let tensor = FlexTensor::from_data(data.clone());
                    let scale = FlexTensor::from_data(amax.clone());
                    let expected = Flex::fp4_quantize(tensor, scale, axis, scheme);
                    let (tensor, scale) = (runtime.tensor(data), runtime.tensor(amax));
                    let found = CubeBackend::fp4_quantize(tensor, scale, axis, scheme);
                    assert_same(found, expected, &what);
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
            let expected = Flex::fp4_quantize(tensor, amax.clone(), 1, scheme);
            let (tensor, amax) = (runtime.tensor(data), runtime.tensor(amax.into_data()));
            let found = CubeBackend::fp4_quantize(tensor, amax, 1, scheme);
            assert_same(found, expected, runtime.name);
        }
    }
}

/// Packed data as a host has it.
struct Packed {
    codes: TensorData,
    scales: TensorData,
    global_scales: TensorData,
}

impl Packed {
    /// Every scale byte with every code, then any bytes.
    fn new(shape: &[usize], scheme: Fp4Scheme, global_scales: &[f32], seed: u64) -> Self {
        let mut random = Random::new(seed);
        let n_elements: usize = shape.iter().product();
        let (block, len) = (scheme.block_size(), shape[shape.len() - 1]);
        let every = [0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe];
        let code = |i: usize| match i % (block / 2) {
            i if i < every.len() => every[i],
            _ => random.bits() as u8,
        };
        let codes: Vec<u8> = (0..n_elements / 2).map(code).collect();
        let scales: Vec<u8> = (0..n_elements / block).map(|i| i as u8).collect();
        let bytes = |bytes: Vec<u8>, per_byte: usize| {
            let mut shape = shape.to_vec();
            shape.pop();
            shape.push(len / per_byte);
            TensorData::new(bytes, shape)
        };
        Self {
            codes: bytes(codes, 2),
            scales: bytes(scales, block),
            global_scales: TensorData::new(global_scales.to_vec(), [global_scales.len()]),
        }
    }

    fn flex(&self) -> Fp4Primitive<Flex> {
        Fp4Primitive {
            codes: FlexTensor::from_data(self.codes.clone()),
            scales: FlexTensor::from_data(self.scales.clone()),
            global_scales: FlexTensor::from_data(self.global_scales.clone()),
        }
    }

    fn cube(
        &self,
        runtime: &TestRuntime,
        gaps: Option<(usize, usize)>,
    ) -> Fp4Primitive<CubeBackend> {
        let bytes = |data: &TensorData, gap: Option<usize>| match gap {
            None => runtime.tensor(data.clone()),
            Some(gap) => runtime.pitched(data, data.shape()[data.shape().len() - 1] + gap),
        };
        Fp4Primitive {
            codes: bytes(&self.codes, gaps.map(|gaps| gaps.0)),
            scales: bytes(&self.scales, gaps.map(|gaps| gaps.1)),
            global_scales: runtime.tensor(self.global_scales.clone()),
        }
    }
}

/// Schemes with global scales at both ends of their range and in between, for two experts.
fn decoded() -> Vec<(Fp4Scheme, Vec<f32>)> {
    let mut schemes = vec![(Fp4Scheme::mxfp4(), vec![1.0])];
    let scales = [
        0.0,
        1e-45,
        1e-40,
        1e-30,
        2e-3,
        1.0,
        3e4,
        1e30,
        f32::MAX / 2688.0,
    ];
    for scale in scales {
        let experts = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);
        schemes.push((Fp4Scheme::nvfp4(), vec![scale]));
        schemes.push((Fp4Scheme::nvfp4_block32(), vec![scale]));
        schemes.push((experts, vec![scale, 0.7]));
    }
    schemes
}

#[test]
fn every_byte_and_every_code_decode_as_in_flex() {
    // What follows a row of codes and of scale bytes.
    let gaps = [
        None,
        Some((0, 3)),
        Some((4, 0)),
        Some((16, 5)),
        Some((3, 0)),
    ];
    let n_gaps = |name| if has_bytes(name) { 5 } else { 4 };
    let shapes = [vec![2, 3, 2880], vec![2, 64, 160], vec![2, 1, 4384]];
    for runtime in runtimes() {
        let mut n_cases = 0;
        for (i, (scheme, global_scales)) in decoded().into_iter().enumerate() {
            let shape = &shapes[i % shapes.len()];
            let packed = Packed::new(shape, scheme, &global_scales, i as u64);
            for dtype in FLOATS
                .into_iter()
                .filter(|&dtype| runtime.has(dtype.into()))
            {
                for axis in 0..shape.len() {
                    if axis == 0 && global_scales.len() > 1 {
                        continue;
                    }
                    let gaps = gaps[n_cases % n_gaps(runtime.name)];
                    let expected = Flex::fp4_dequantize(packed.flex(), axis, dtype, scheme);
                    let found = packed.cube(&runtime, gaps);
                    let found = CubeBackend::fp4_dequantize(found, axis, dtype, scheme);
                    // Not every runtime can copy `bf16` on its way to the host.
                    let last = |rank: usize| {
                        let mut axes: Vec<usize> = (0..rank).collect();
                        let moved = axes.remove(axis);
                        axes.push(moved);
                        axes
                    };
                    let what = format!(
                        "{}: {scheme}, {global_scales:?}, {shape:?}, {dtype:?}, axis {axis}, {gaps:?}",
                        runtime.name
                    );
                    assert_eq!(found.shape(), expected.shape(), "{what}");
                    let found = CubeBackend::float_permute(found, &last(shape.len()));
                    let expected = Flex::float_permute(expected, &last(shape.len()));
                    assert_same_bits(&read(found), &expected.into_data(), &what);
                    n_cases += 1;
                }
            }
        }
        println!("{}: {n_cases} cases", runtime.name);
    }
}

/// Whether a runtime can copy bytes: what lies badly is copied first.
fn has_bytes(runtime: &str) -> bool {
    runtime != "wgsl"
}

#[test]
fn views_of_packed_tensors_decode() {
    for runtime in runtimes() {
        if !has_bytes(runtime.name) {
            continue;
        }
        let packed = Packed::new(&[4, 3, 96], Fp4Scheme::mxfp4(), &[1.0], 7);
        // A slice begins at a scale byte that is no multiple of four.
        let slices = [Slice::from(1..4)];
        let (flex, cube) = (packed.flex(), packed.cube(&runtime, None));
        let flex = Fp4Primitive {
            codes: Flex::int_slice(flex.codes, &slices),
            scales: Flex::int_slice(flex.scales, &slices),
            ..flex
        };
        let cube = Fp4Primitive::<CubeBackend> {
            codes: CubeBackend::int_slice(cube.codes, &slices),
            scales: CubeBackend::int_slice(cube.scales, &slices),
            ..cube
        };
        let swapped_flex = Fp4Primitive {
            codes: Flex::int_swap_dims(flex.codes.clone(), 0, 1),
            scales: Flex::int_swap_dims(flex.scales.clone(), 0, 1),
            ..flex.clone()
        };
        let swapped_cube = Fp4Primitive::<CubeBackend> {
            codes: CubeBackend::int_swap_dims(cube.codes.clone(), 0, 1),
            scales: CubeBackend::int_swap_dims(cube.scales.clone(), 0, 1),
            ..cube.clone()
        };
        for (flex, cube) in [(flex, cube), (swapped_flex, swapped_cube)] {
            let (scheme, dtype) = (Fp4Scheme::mxfp4(), FloatDType::F32);
            let expected = Flex::fp4_dequantize(flex, 1, dtype, scheme);
            let found = CubeBackend::fp4_dequantize(cube, 1, dtype, scheme);
            assert_same_bits(&read(found), &expected.into_data(), runtime.name);
        }
    }
}
