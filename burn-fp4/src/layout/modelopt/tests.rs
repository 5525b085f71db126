use super::*;
use crate::scheme::global_scale::GlobalScope;

/// `[2, 3, 32]` with bytes that tell where they are from.
fn packed(scheme: Fp4Scheme, global_scales: &[f32]) -> PackedFp4 {
    let codes = (0..96).collect();
    let scales = (0..192 / scheme.block_size() as u8)
        .map(|i| 100 + i)
        .collect();
    let shape = vec![2, 3, 32];
    PackedFp4::from_parts_with_global(scheme, shape, codes, scales, global_scales.to_vec()).unwrap()
}

#[test]
fn linear_layers_are_the_bytes_as_they_are() {
    let packed = packed(Fp4Scheme::nvfp4(), &[0.25]);
    let tensors = to_linear(packed.clone()).unwrap();
    assert_eq!(
        tensors.weight,
        StoredTensor::new([2, 3, 16], packed.codes().to_vec())
    );
    assert_eq!(
        tensors.weight_scale,
        StoredTensor::new([2, 3, 2], packed.scales().to_vec())
    );
    assert_eq!(tensors.weight_scale_2, StoredTensor::scalar(0.25));
    assert_eq!(from_linear(tensors.clone()).unwrap(), packed);
    let borrowed = to_linear(packed.view()).unwrap();
    assert_eq!(from_linear(borrowed).unwrap(), packed.view());

    let one = StoredTensor::new([1], vec![0.25]);
    let tensors = ModelOptWeight {
        weight_scale_2: one,
        ..tensors
    };
    assert_eq!(from_linear(tensors).unwrap(), packed);
}

/// Byte `[e, i, o]` of the file is byte `[e, o, i]` of the tensor.
#[test]
fn fused_experts_are_transposed_bytes() {
    let packed = packed(Fp4Scheme::nvfp4(), &[0.25]);
    let tensors = to_fused_experts(&packed).unwrap();
    assert_eq!(tensors.weight.shape, [2, 16, 3]);
    assert_eq!(tensors.weight.data[..7], [0, 16, 32, 1, 17, 33, 2]);
    assert_eq!(tensors.weight.data[48..52], [48, 64, 80, 49]);
    let scales = [100, 102, 104, 101, 103, 105, 106, 108, 110, 107, 109, 111];
    assert_eq!(
        tensors.weight_scale,
        StoredTensor::new([2, 2, 3], scales.to_vec())
    );
    assert_eq!(tensors.weight_scale_2, StoredTensor::scalar(0.25));
    assert_eq!(from_fused_experts(&tensors).unwrap(), packed);
}

#[test]
fn scales_per_expert_and_blocks_of_32() {
    let scheme = Fp4Scheme::nvfp4_block32().with_global_scope(GlobalScope::Expert);
    let packed = packed(scheme, &[0.25, 3.0]);
    let tensors = to_fused_experts(&packed).unwrap();
    assert_eq!(tensors.weight_scale.shape, [2, 1, 3]);
    assert_eq!(
        tensors.weight_scale_2,
        StoredTensor::new([2], vec![0.25, 3.0])
    );
    assert_eq!(from_fused_experts(&tensors).unwrap(), packed);
    assert_eq!(
        from_linear(to_linear(packed.clone()).unwrap()).unwrap(),
        packed
    );
}

/// gate_up_proj of gpt-oss-20b.
#[test]
fn published_shapes() {
    let (weight, weight_scale) = ([32, 5760, 1440], [32, 5760, 180]);
    let tensors = ModelOptWeight {
        weight: StoredTensor::new(weight, ()),
        weight_scale: StoredTensor::new(weight_scale, ()),
        weight_scale_2: StoredTensor::scalar(1.0),
    };
    let (scheme, shape) = logical(&weight, &weight_scale, &tensors).unwrap();
    assert_eq!((scheme, shape), (Fp4Scheme::nvfp4(), vec![32, 5760, 2880]));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let good = to_linear(packed(Fp4Scheme::nvfp4(), &[0.25])).unwrap();
    let wrong = |change: fn(&mut ModelOptWeight)| {
        let mut tensors = good.clone();
        change(&mut tensors);
        from_linear(tensors).unwrap_err()
    };
    let shapes = |error| matches!(error, Fp4Error::LayoutShapes { .. });
    assert!(shapes(wrong(|t| t.weight_scale.shape = vec![2, 3, 3])));
    assert!(shapes(wrong(|t| t.weight_scale.shape = vec![3, 2, 2])));
    assert!(shapes(wrong(|t| t.weight_scale_2.shape = vec![3])));
    assert!(shapes(wrong(|t| t.weight.shape = vec![])));
    assert!(shapes(from_fused_experts(&good).unwrap_err()));
    let length = wrong(|t| t.weight.data.truncate(5));
    assert!(matches!(
        length,
        Fp4Error::Length {
            what: "weight",
            expected: 96,
            found: 5,
            ..
        }
    ));
    let length = wrong(|t| t.weight_scale_2.data.push(1.0));
    assert!(matches!(
        length,
        Fp4Error::Length {
            what: "weight_scale_2",
            ..
        }
    ));
    let mut experts = to_fused_experts(&from_linear(good.clone()).unwrap()).unwrap();
    experts.weight_scale.data.pop();
    assert!(matches!(
        from_fused_experts(&experts),
        Err(Fp4Error::Length { .. })
    ));

    let mxfp4 = Fp4Scheme::mxfp4();
    let mxfp4 = PackedFp4::from_parts(mxfp4, vec![1, 32], vec![0; 16], vec![0]).unwrap();
    let error = to_linear(mxfp4).unwrap_err().to_string();
    assert_eq!(
        error,
        "the ModelOpt layout needs NVFP4, but this tensor is in MXFP4 (Ceil)"
    );
}
