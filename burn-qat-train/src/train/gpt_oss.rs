//! gpt-oss under training.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};
use burn_fp4::{GradientRule, LowRankAdapter, PackedFp4, QuantStats};
use burn_gpt_oss::{ExpertWeight, GptOss};

use super::documents::hidden_states;
use super::guard::is_finite;
use super::layer_wise::{cast_matrices, walk};
use super::loss::{micro_batch_loss, taught_loss};
use super::quantized_experts::quantize_experts;
use super::recompute::recomputed_gradients;
use super::{GradientPass, GradientSink, LayerWise, Masters, TrainConfig, Trainable};
use crate::data::{MicroBatch, TokenizedExample};
use crate::distill::Teacher;
use crate::error::QatError;
use crate::quantize::WeightQuantizer;

impl Trainable for GptOss {
    type Example = TokenizedExample;
    type Batch = MicroBatch;

    fn batch(examples: &[&TokenizedExample], device: &Device) -> MicroBatch {
        MicroBatch::new(examples, device)
    }

    fn loss(&self, batch: &MicroBatch) -> Tensor<1> {
        micro_batch_loss(self, batch).0
    }

    fn n_targets(example: &TokenizedExample) -> usize {
        example.n_targets()
    }

    fn n_tokens(example: &TokenizedExample) -> usize {
        example.tokens.len() - 1
    }

    fn is_random(&self) -> bool {
        has_dropout(self)
    }

    /// Master weights have the type that the settings name. With adapters the factors are what trains, and they are
    /// float32; the base is as it was loaded.
    fn check(&self, config: &TrainConfig) -> Result<(), QatError> {
        if let Some(settings) = config.layer_wise {
            return check_layer_wise(self, settings, config);
        }
        if self.has_adapters() {
            return check_dropout(self, config);
        }
        let master = DType::from(config.element_types.master);
        let found = self.embed_tokens.weight.val().dtype();
        match found == master {
            true => Ok(()),
            false => Err(QatError::Setting {
                key: "element_types.master",
                expected: format!("{found:?}, the type that the model was loaded with"),
                found: format!("{master:?}"),
            }),
        }
    }

    fn check_teacher(&self, teacher: &Teacher) -> Result<(), QatError> {
        teacher.check(self)
    }

    /// The load-balancing loss is part of what the gradients are of, not of the loss.
    fn gradients(
        &self,
        batch: &MicroBatch,
        pass: GradientPass<'_>,
    ) -> (Tensor<1>, GradientsParams) {
        if pass.recompute_layers {
            return recomputed_gradients(self, batch, pass);
        }
        let (nll, auxiliary) = taught_loss(self, batch, pass.lesson);
        let loss = nll / pass.n_targets as f64;
        let reported = loss.clone().detach();
        let loss = match auxiliary {
            Some(auxiliary) => loss + auxiliary / pass.n_micro_batches as f64,
            None => loss,
        };
        (reported, GradientsParams::from_grads(loss.backward(), self))
    }

    fn layer_wise<S: GradientSink<Self>>(
        self,
        batches: &[MicroBatch],
        pass: GradientPass<'_>,
        sink: &mut S,
    ) -> (Self, Vec<Tensor<1>>) {
        walk(self, batches, pass, sink)
    }

    fn prepared(self, settings: LayerWise) -> Self {
        cast_matrices(self, settings).multiplying_codes()
    }

    fn shared_by_micro_batches(&self) -> Option<Self> {
        Some(quantize_experts(self.clone()))
    }

    /// Runs the model again, since nothing of the forward pass is left.
    fn first_non_finite(&self, batch: &MicroBatch) -> Option<String> {
        let batch = batch.without_autodiff();
        let (mut layer, mut first) = (0, None);
        hidden_states(&self.valid(), &batch, |output| {
            if first.is_none() && !is_finite(&output.hidden) {
                first = Some(layer);
            }
            layer += 1;
        });
        Some(match first {
            Some(layer) => format!("the values of layer {layer} are not finite"),
            None => "the values of all layers are finite, the loss is not".into(),
        })
    }

    /// One matrix after the other, so that one is packed at a time.
    fn packed_weights(&self) -> impl Iterator<Item = (String, PackedFp4, QuantStats)> {
        self.expert_weights().filter_map(|(path, weight)| {
            let (packed, stats) = packed(weight)?;
            Some((path, packed, stats))
        })
    }
}

/// What is trained layer by layer is cast as its masters say, but for vectors.
fn check_layer_wise(
    model: &GptOss,
    settings: LayerWise,
    config: &TrainConfig,
) -> Result<(), QatError> {
    let refuse = |key, expected: &str, found: String| {
        Err(QatError::Setting {
            key,
            expected: expected.into(),
            found,
        })
    };
    if model.has_adapters() {
        let expected = "none where adapters train: they take few bytes as they are";
        return refuse("layer_wise", expected, "settings".into());
    }
    if settings.masters != Masters::F32 && has_other_quantizers(model) {
        let expected = "f32 with learned scales or a gradient other than straight_through, which want the matrix in float32";
        return refuse(
            "layer_wise.masters",
            expected,
            format!("{:?}", settings.masters),
        );
    }
    if config.distill.is_some() && settings.masters != Masters::F32 {
        let expected = "f32 with `distill`, whose head wants the matrix in float32";
        return refuse(
            "layer_wise.masters",
            expected,
            format!("{:?}", settings.masters),
        );
    }
    let vectors = model.norm.weight.val().dtype();
    match vectors {
        DType::F32 => Ok(()),
        other => refuse(
            "layer_wise",
            "a model whose norms are F32",
            format!("{other:?}"),
        ),
    }
}

/// Whether a quantizer does more than hand gradients on.
fn has_other_quantizers(model: &GptOss) -> bool {
    let other = |quantizer: &WeightQuantizer| {
        quantizer.learns_scales() || quantizer.gradient() != GradientRule::StraightThrough
    };
    let of_experts = model
        .expert_weights()
        .filter_map(|(_, weight)| weight.dense()?.reparameterization::<WeightQuantizer>());
    let mut of_matrices = model
        .matrices()
        .into_iter()
        .filter_map(|(_, weight)| weight.reparameterization::<WeightQuantizer>());
    of_matrices.any(other) || { of_experts }.any(other)
}

fn has_dropout(model: &GptOss) -> bool {
    let mut matrices = model.matrices().into_iter();
    matrices.any(|(_, weight)| {
        let adapter = weight.reparameterization::<LowRankAdapter<2>>();
        adapter.is_some_and(|adapter| adapter.dropout() > 0.0)
    })
}

/// A layer that runs again must see what it saw before.
fn check_dropout(model: &GptOss, config: &TrainConfig) -> Result<(), QatError> {
    match config.recompute_layers && has_dropout(model) {
        true => Err(QatError::Setting {
            key: "dropout",
            expected: "0 where layers are recomputed".into(),
            found: "above 0".into(),
        }),
        false => Ok(()),
    }
}

/// A matrix with a quantizer as that packs it, and what this costs. One that cannot be read or rounded is left out:
/// training itself tells why. So is one with learned scales, whose cost is not that of a rule.
fn packed(weight: &ExpertWeight) -> Option<(PackedFp4, QuantStats)> {
    let param = weight.dense()?;
    let quantizer = param.reparameterization::<WeightQuantizer>()?;
    if quantizer.learns_scales() {
        return None;
    }
    let slices = quantizer.to_slices().ok()?;
    let shape = weight.shape();
    let values = param
        .base()
        .cast(DType::F32)
        .try_into_vec_as::<f32>()
        .ok()?;
    let packed = slices.quantize(&values, &shape, 1).ok()?;
    Some((packed, slices.stats(&values, &shape, 1).ok()?))
}
