//! FP4 in a module that is not ours: two kinds of layers, a list of layers, experts.

mod pack;
mod store;
mod train;

use burn::module::{Module, Param, ParamGroup};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::*;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::error::Fp4Error;
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalScope;
use crate::scheme::scale_rule::Nvfp4ScaleRule;

#[derive(Module, Debug)]
struct Net {
    embedding: Embedding,
    layers: Vec<Linear>,
    experts: Param<Tensor<3>>,
}

impl Net {
    fn new(device: &Device) -> Self {
        let linear = |width, seed| {
            let mut linear = LinearConfig::new(64, width).init(device);
            linear.weight = Param::from_tensor(sample([64, width], seed, device));
            linear
        };
        Self {
            embedding: EmbeddingConfig::new(10, 64).init(device),
            layers: vec![linear(64, 1), linear(64, 2)],
            experts: Param::from_tensor(sample([2, 64, 24], 3, device)),
        }
    }

    /// `[batch, tokens]` to `[2, batch * tokens, 24]`.
    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let x = self.embedding.forward(tokens).flatten::<2>(0, 1);
        let x = self.layers.iter().fold(x, |x, layer| layer.forward(x));
        x.unsqueeze::<3>()
            .repeat_dim(0, 2)
            .matmul(self.experts.val())
    }
}

const WEIGHTS: [&str; 3] = ["layers.0.weight", "layers.1.weight", "experts"];

fn matrices() -> ParamGroup {
    ParamGroup::from_paths(WEIGHTS.to_vec())
}

fn quantization(scheme: Fp4Scheme) -> WeightQuantization {
    WeightQuantization::new(scheme).with_group(matrices())
}

fn schemes() -> [Fp4Scheme; 4] {
    [
        Fp4Scheme::mxfp4(),
        Fp4Scheme::nvfp4(),
        Fp4Scheme::nvfp4_block32(),
        Fp4Scheme::nvfp4_with(Nvfp4ScaleRule::FourOverSix),
    ]
}

fn sample<const D: usize>(shape: [usize; D], seed: usize, device: &Device) -> Tensor<D> {
    let n_elements: usize = shape.iter().product();
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 10_007) as f32 / 10_007.0 - 0.45;
    let values: Vec<f32> = (0..n_elements).map(|i| value(i).powi(3)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn tokens(device: &Device) -> Tensor<2, Int> {
    Tensor::from_data([[1, 5, 9], [0, 2, 7]], device)
}

fn bits<const D: usize>(tensor: Tensor<D>) -> Vec<u32> {
    let values = tensor.try_into_vec_as::<f32>().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

fn weight_bits(net: &Net) -> Vec<Vec<u32>> {
    vec![
        bits(net.layers[0].weight.val()),
        bits(net.layers[1].weight.val()),
        bits(net.experts.val()),
    ]
}

/// What the slice quantizer makes of the values of a weight.
fn quantized<const D: usize>(weight: &Param<Tensor<D>>, scheme: Fp4Scheme) -> Vec<u32> {
    let weight = weight.base();
    let shape = weight.dims();
    let values = weight.try_into_vec_as::<f32>().unwrap();
    let quantizer = SliceQuantizer::new(scheme);
    let values = quantizer.fake_quantize(&values, &shape, D - 2).unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

fn quantized_bits(net: &Net, scheme: Fp4Scheme) -> Vec<Vec<u32>> {
    vec![
        quantized(&net.layers[0].weight, scheme),
        quantized(&net.layers[1].weight, scheme),
        quantized(&net.experts, scheme),
    ]
}
