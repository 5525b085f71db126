//! The way of a gpt-oss weight to ModelOpt's NVFP4 files and back, through the public functions alone.

#![allow(missing_docs, clippy::unwrap_used)]

use burn_fp4::layout::{StoredTensor, gpt_oss, modelopt};
use burn_fp4::{Fp4Scheme, GlobalScope, PackedFp4};

/// `gate_up_proj` of two small experts, 6 outputs and 64 inputs, scales within 17 binades.
fn gate_up_proj() -> (StoredTensor, StoredTensor) {
    let codes = (0..2 * 6 * 2 * 16).map(|i| (i * 37 + i / 16) as u8);
    let scales = (0..2 * 6 * 2).map(|i| 110 + (i * 5 % 17) as u8);
    (
        StoredTensor::new([2, 6, 2, 16], codes.collect::<Vec<_>>()),
        StoredTensor::new([2, 6, 2], scales.collect::<Vec<_>>()),
    )
}

#[test]
fn mxfp4_files_become_nvfp4_files_without_loss() {
    let (blocks, scales) = gate_up_proj();
    let mxfp4 = gpt_oss::from_tensors(blocks.clone(), scales.clone()).unwrap();
    for scope in [GlobalScope::Tensor, GlobalScope::Expert] {
        let (nvfp4, report) = mxfp4.cast_to_nvfp4(scope).unwrap();
        assert!(report.is_lossless(), "{report}");
        let file = modelopt::to_fused_experts(&nvfp4).unwrap();
        assert_eq!(file.weight.shape, [2, 32, 6]);
        assert_eq!(file.weight_scale.shape, [2, 4, 6]);

        let read = modelopt::from_fused_experts(&file).unwrap();
        assert_eq!(read, nvfp4);
        assert_eq!(read.dequantize(), mxfp4.dequantize());

        // MXFP4 values are MXFP4 values, whatever they were stored as.
        let mut dense = vec![0f32; 2 * 64 * 6];
        read.dequantize_along(1, &mut dense).unwrap();
        let again = PackedFp4::quantize(&dense, &[2, 64, 6], 1, Fp4Scheme::mxfp4()).unwrap();
        assert_eq!(again.dequantize(), mxfp4.dequantize());
        assert_eq!(gpt_oss::to_tensors(again).unwrap().0.shape, blocks.shape);
    }
}
