//! Bytes in, bytes out, on every kind of device.

use burn::module::Module;

use super::*;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::ops::FakeQuantizer;
use crate::scheme::global_scale::GlobalScope;

const EXPERTS: Fp4Scheme = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);
const SCHEMES: [Fp4Scheme; 3] = [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4(), EXPERTS];

fn values() -> Vec<f32> {
    let values = (0..2 * 64 * 5).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 97.0);
    values.collect()
}

/// `[2, 64, 5]` with blocks along axis 1.
fn packed(scheme: Fp4Scheme) -> PackedFp4 {
    PackedFp4::quantize(&values(), &[2, 64, 5], 1, scheme).unwrap()
}

fn devices() -> [Device; 3] {
    let device = Device::flex();
    let autodiff = device.clone().autodiff();
    [device, autodiff.clone(), autodiff.gradient_checkpointing()]
}

#[test]
fn packed_tensors_come_back_byte_for_byte() {
    for device in devices() {
        for scheme in SCHEMES {
            let packed = packed(scheme);
            let tensor = Fp4Tensor::<3>::from_packed(packed.clone(), &device).unwrap();
            assert_eq!(tensor.shape(), [2, 5, 64]);
            assert_eq!(tensor.codes().dtype(), DType::U8);
            assert_eq!(tensor.scales().dtype(), DType::U8);
            assert_eq!(tensor.to_packed().unwrap(), packed);
            let error = Fp4Tensor::<2>::from_packed(packed, &device).unwrap_err();
            assert!(error.to_string().contains("[2, 5, 64]"), "{error}");
        }
    }
}

#[test]
fn quantizing_a_tensor_is_quantizing_its_slice() {
    for device in devices() {
        let data = TensorData::new(values(), [2, 64, 5]);
        let dense = Tensor::<3>::from_data(data, &device);
        for scheme in SCHEMES {
            let tensor = Fp4Tensor::quantize(dense.clone(), 1, &scheme);
            assert_eq!(tensor.to_packed().unwrap(), packed(scheme));
            let view = Fp4Tensor::quantize(dense.clone().swap_dims(1, 2), 2, &scheme);
            assert_eq!(view.to_packed().unwrap(), packed(scheme));
            for dtype in [FloatDType::F32, FloatDType::BF16, FloatDType::F16] {
                let out = tensor.dequantize(1, dtype);
                assert_eq!(out.dtype(), dtype.into());
                let wanted = FakeQuantizer::new(scheme).forward(dense.clone(), 1);
                let wanted = wanted.cast(dtype).into_data();
                out.into_data().assert_eq(&wanted, true);
            }
        }
    }
}

#[test]
fn decoding_turns_the_block_axis() {
    let device = Device::flex();
    for scheme in SCHEMES {
        let packed = packed(scheme);
        let tensor = Fp4Tensor::<3>::from_packed(packed.clone(), &device).unwrap();
        let last = tensor.dequantize(2, FloatDType::F32);
        let wanted = TensorData::new(packed.dequantize(), [2, 5, 64]);
        last.clone().into_data().assert_eq(&wanted, true);
        let turned = tensor.dequantize(1, FloatDType::F32).into_data();
        turned.assert_eq(&last.swap_dims(1, 2).into_data(), true);
    }
}

#[test]
fn a_given_amax_is_used() {
    let dense = TensorData::new(values(), [2, 64, 5]);
    let dense = Tensor::<3>::from_data(dense, &Device::flex());
    let amax = Tensor::from_floats([2.0], &Device::flex());
    let tensor = Fp4Tensor::quantize_with_amax(dense, amax, 1, &Fp4Scheme::nvfp4());
    let quantizer = SliceQuantizer::new(Fp4Scheme::nvfp4());
    let quantizer = quantizer.with_global_amax(crate::GlobalAmax::Frozen(vec![2.0]));
    let wanted = quantizer.quantize(&values(), &[2, 64, 5], 1).unwrap();
    assert_eq!(tensor.to_packed().unwrap(), wanted);
}

#[test]
fn records_keep_the_bytes() {
    let directory = std::env::temp_dir().join(format!("burn-fp4-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    for (index, device) in devices().iter().enumerate() {
        for scheme in SCHEMES {
            let path = directory.join(format!("{index}.bpk"));
            let tensor = Fp4Tensor::<3>::from_packed(packed(scheme), device).unwrap();
            tensor.save_file(&path).unwrap();
            let empty = Fp4Tensor::<3>::zeros([2, 5, 64], scheme, device).unwrap();
            let loaded = empty.load_file(&path);
            assert_eq!(loaded.codes().dtype(), DType::U8);
            assert_eq!(loaded.to_packed().unwrap(), packed(scheme));
            std::fs::remove_file(&path).unwrap();
        }
    }
    std::fs::remove_dir(&directory).unwrap();
}

#[test]
fn modules_move_without_change() {
    let device = Device::flex();
    for scheme in SCHEMES {
        let tensor = Fp4Tensor::<3>::from_packed(packed(scheme), &device).unwrap();
        let check = |tensor: &Fp4Tensor<3>| {
            assert_eq!(tensor.codes().dtype(), DType::U8);
            assert_eq!(tensor.to_packed().unwrap(), packed(scheme));
            let scales = tensor.global_scales();
            assert!(!scales.is_some_and(|scales| scales.is_require_grad()));
        };
        let training = tensor.clone().train();
        check(&training);
        check(&training.valid());
        check(&training.clone().fork(&device));
        check(&tensor.clone().to_device(&device));
        check(&tensor.clone().fork(&device.clone().autodiff()));
        check(&training.freeze().unfreeze());
    }
}

#[test]
fn zeros_are_refused_where_blocks_do_not_fit() {
    let error = Fp4Tensor::<1>::zeros([48], Fp4Scheme::mxfp4(), &Device::flex()).unwrap_err();
    assert!(error.to_string().contains("length 48"));
}
