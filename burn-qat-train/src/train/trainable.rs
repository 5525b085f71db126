use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};
use burn_fp4::{PackedFp4, QuantStats};
use serde::Serialize;

use super::loss::Lesson;
use super::{GradientSink, LayerWise, Masters, TrainConfig};
use crate::distill::Teacher;
use crate::error::QatError;

/// A Burn module that a [`StageRun`](crate::StageRun) trains: how its examples become batches, and the loss of one.
///
/// [`GptOss`](burn_gpt_oss::GptOss) is one. What has a body here suits any module; a module changes it to be
/// trained faster, or to tell more.
pub trait Trainable: Module + Sync + 'static {
    /// One row of the data. What it is written as tells data apart when a run is resumed.
    type Example: Clone + Serialize + Send + Sync + 'static;
    /// Examples on a device, computed together.
    type Batch: Clone + Send + Sync + 'static;

    /// Brings examples to a device; there is at least one.
    fn batch(examples: &[&Self::Example], device: &Device) -> Self::Batch;

    /// The loss, summed over the targets of a batch: training divides it by the targets of all micro-batches.
    ///
    /// # Shapes
    /// - output: `[1]`
    fn loss(&self, batch: &Self::Batch) -> Tensor<1>;

    /// What an example adds to the number of targets.
    fn n_targets(_example: &Self::Example) -> usize {
        1
    }

    /// What an example adds to the number of tokens. Examples of like lengths share a micro-batch.
    fn n_tokens(_example: &Self::Example) -> usize {
        1
    }

    /// What must hold of the module before it trains. Unless a module says otherwise, its layers are not known, and
    /// [`TrainConfig::recompute_layers`] is refused, and so are [`Masters`] of 16 bits.
    ///
    /// # Errors
    /// Settings that do not suit it.
    fn check(&self, config: &TrainConfig) -> Result<(), QatError> {
        let masters = config.layer_wise.map_or(Masters::F32, |it| it.masters);
        let (key, expected, found) = match (config.recompute_layers, masters) {
            (true, _) => (
                "recompute_layers",
                "false: this module does not say what its layers are; `gradient_checkpointing` is for any module",
                "true".to_owned(),
            ),
            (false, Masters::F32) => return Ok(()),
            (false, masters) => (
                "layer_wise.masters",
                "f32: this module does not say that it computes with weights of 16 bits",
                format!("{masters:?}"),
            ),
        };
        Err(QatError::Setting {
            key,
            expected: expected.into(),
            found,
        })
    }

    /// Whether the loss depends on random numbers, as with dropout. The device's begin anew in every step then, from
    /// [`TrainConfig::seed`] and the number of the step, so that a run that ended early goes on with the same ones.
    /// Micro-batches that are computed side by side draw them in any order.
    fn is_random(&self) -> bool {
        false
    }

    /// Whether the module can learn from a teacher.
    ///
    /// # Errors
    /// A teacher that does not suit it; any, unless a module says otherwise.
    fn check_teacher(&self, _teacher: &Teacher) -> Result<(), QatError> {
        Err(QatError::Setting {
            key: "teacher",
            expected: "none: this module learns from its targets alone".into(),
            found: "a model".into(),
        })
    }

    /// The loss of a micro-batch as [`loss`](Self::loss) gives it, over the targets of the whole batch, and its
    /// gradients. The loss has no graph.
    ///
    /// # Shapes
    /// - output: `[1]`
    fn gradients(
        &self,
        batch: &Self::Batch,
        pass: GradientPass<'_>,
    ) -> (Tensor<1>, GradientsParams) {
        let loss = self.loss(batch) / pass.n_targets as f64;
        let reported = loss.clone().detach();
        (reported, GradientsParams::from_grads(loss.backward(), self))
    }

    /// Hands the gradients of a step to a sink, part by part, and returns the module as the sink gave it back, with the
    /// losses of the micro-batches: for [`TrainConfig::layer_wise`]. A sink that [measures](GradientSink::is_measuring)
    /// sees them all before. Unless a module says otherwise, all gradients are one part.
    fn layer_wise<S: GradientSink<Self>>(
        self,
        batches: &[Self::Batch],
        pass: GradientPass<'_>,
        sink: &mut S,
    ) -> (Self, Vec<Tensor<1>>) {
        let mut total = GradientsAccumulator::new();
        let mut losses = Vec::with_capacity(batches.len());
        for batch in batches {
            let (loss, grads) = self.gradients(batch, pass);
            losses.push(loss);
            total.accumulate(&self, grads);
        }
        let grads = total.grads();
        if sink.is_measuring() {
            sink.measure(&self, &grads);
            if !sink.measured(&self) {
                return (self, losses);
            }
        }
        (sink.take(self, grads), losses)
    }

    /// The module as it is trained layer by layer. One that computes with matrices of 16 bits beside inputs of 32 casts them
    /// here to what [`Masters`] says.
    fn prepared(self, _settings: LayerWise) -> Self {
        self
    }

    /// The module with what several micro-batches of a step have in common computed once, under the same ids.
    fn shared_by_micro_batches(&self) -> Option<Self> {
        None
    }

    /// Where the values of a batch cease to be finite, in words.
    fn first_non_finite(&self, _batch: &Self::Batch) -> Option<String> {
        None
    }

    /// The weights with quantizers as these pack them, by module path, for the metrics of quantization.
    fn packed_weights(&self) -> impl Iterator<Item = (String, PackedFp4, QuantStats)> {
        std::iter::empty()
    }
}

/// The part of a micro-batch in its step.
#[derive(Clone, Copy)]
pub struct GradientPass<'a> {
    /// Targets of all micro-batches.
    pub n_targets: usize,
    /// Micro-batches of the step.
    pub n_micro_batches: usize,
    /// Whether layers are to be computed again, see [`TrainConfig::recompute_layers`].
    pub recompute_layers: bool,
    /// The teacher, where [`check_teacher`](Trainable::check_teacher) allows one.
    pub(super) lesson: Option<Lesson<'a>>,
}
