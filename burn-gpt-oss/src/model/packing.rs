//! Models whose experts are FP4 in memory.

use burn::module::ParamGroup;
use burn::tensor::Device;
use burn_fp4::{Fp4Error, Fp4Scheme, Fp4Tensor, WeightQuantization};

use super::{Block, Experts, GptOss};
use crate::config::GptOssConfig;
use crate::error::GptOssError;

impl GptOssConfig {
    /// A model with packed experts of zeros and fresh other weights, created lazily, to load the record
    /// of a packed model into.
    ///
    /// # Errors
    /// If the width of an expert is not a multiple of the block size.
    pub fn init_packed(&self, scheme: &Fp4Scheme, device: &Device) -> Result<GptOss, GptOssError> {
        let mut model = self.init(device);
        for (path, weight) in model.expert_weights_mut() {
            let [experts, d_input, d_output] = weight.shape();
            let zeros = Fp4Tensor::zeros([experts, d_output, d_input], *scheme, device);
            *weight = zeros.map_err(GptOssError::fp4(path))?.into();
        }
        Ok(model)
    }
}

impl GptOss {
    /// Quantizes all expert matrices and keeps them packed from now on: 4.25 bits per weight in MXFP4
    /// and 4.5 in NVFP4, decoded tile by tile in every pass, and frozen. One block at a time is held in
    /// both forms.
    ///
    /// A matrix with a [`WeightQuantizer`](burn_fp4::WeightQuantizer) becomes exactly what the
    /// quantizer gives. What is packed in this scheme already stays as it is.
    ///
    /// # Errors
    /// Widths that are no multiple of the block size, values that are not finite, adapters that were
    /// not merged, and experts that are packed in or trained for another scheme.
    pub fn pack_experts(mut self, scheme: &Fp4Scheme) -> Result<Self, GptOssError> {
        let pack = |(layer, mut block): (usize, Block)| {
            let path = format!("layers.{layer}.mlp.experts");
            block.mlp.experts = pack(block.mlp.experts, *scheme, path)?;
            Ok(block)
        };
        let blocks = self.layers.into_iter().enumerate();
        self.layers = blocks.map(pack).collect::<Result<_, GptOssError>>()?;
        Ok(self)
    }
}

fn pack(experts: Experts, scheme: Fp4Scheme, path: String) -> Result<Experts, GptOssError> {
    let mut dense = Vec::new();
    for (name, weight) in experts.weights() {
        if weight.adapter().is_some() {
            return Err(GptOssError::Unsupported {
                what: format!("packing `{path}.{name}`, which has an adapter,"),
                hint: "merge the adapter first".into(),
            });
        }
        match weight.scheme() {
            None => dense.push(name),
            Some(found) if found == scheme => {}
            Some(found) => {
                return Err(GptOssError::Unsupported {
                    what: format!("packing `{path}.{name}` in {scheme}, which is in {found},"),
                    hint: "start from the dense model".into(),
                });
            }
        }
    }
    if dense.is_empty() {
        return Ok(experts);
    }
    quantize(experts, dense, scheme).map_err(GptOssError::fp4(path))
}

fn quantize(
    experts: Experts,
    names: Vec<&'static str>,
    scheme: Fp4Scheme,
) -> Result<Experts, Fp4Error> {
    let quantized = WeightQuantization::new(scheme)
        .with_group(ParamGroup::from_paths(names))
        .quantize(experts)?;
    let mut experts = (*quantized).clone();
    for (name, weight) in experts.weights_mut() {
        if let (Some(dense), Some(packed)) = (weight.dense(), quantized.packed(name)) {
            let device = dense.lazy_device();
            *weight = Fp4Tensor::from_packed(packed.clone(), &device)?.into();
        }
    }
    Ok(experts)
}
