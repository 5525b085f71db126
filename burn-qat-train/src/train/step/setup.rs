use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use burn_fp4::GlobalRefresh;
use burn_gpt_oss::ops::ordered_sum;

use super::{FineTune, StepOutput};
use crate::distill::{DistillConfig, Teacher};
use crate::train::guard::{Guard, Refusal};
use crate::train::quantization::QuantizationLog;
use crate::train::resume::StateSaver;
use crate::train::{GradientPass, StepBatch, TrainConfig, Trainable};

/// How a module trains, and who hears of it.
#[derive(Clone, Debug)]
pub(in crate::train) struct Setup<M: Trainable> {
    pub max_grad_norm: Option<f64>,
    pub parallel_micro_batches: usize,
    pub recompute_layers: bool,
    pub global_refresh: GlobalRefresh,
    /// What the random numbers of each step begin with.
    pub seed: u64,
    /// Optimizer steps since the stage began.
    pub steps: usize,
    /// Hears of every step, and saves the state of the run.
    pub saver: Option<Arc<StateSaver>>,
    /// Whom the model learns from, in place of the targets.
    pub teacher: Option<Arc<(Teacher, DistillConfig)>>,
    /// Hears of every step, and ends a run whose steps are not finite.
    pub guard: Option<Arc<Guard<M>>>,
    pub quantization: Option<Arc<QuantizationLog>>,
}

impl<M: Trainable> Setup<M> {
    pub fn new(config: &TrainConfig) -> Self {
        Self {
            max_grad_norm: config.max_grad_norm,
            parallel_micro_batches: config.parallel_micro_batches,
            recompute_layers: config.recompute_layers,
            global_refresh: match config.global_refresh_steps {
                Some(steps) => GlobalRefresh::Every(steps),
                None => GlobalRefresh::Frozen,
            },
            seed: config.seed,
            steps: 0,
            saver: None,
            teacher: None,
            guard: None,
            quantization: None,
        }
    }

    pub fn with(self, model: M) -> FineTune<M> {
        FineTune { model, setup: self }
    }

    /// Begins the random numbers of a step, those of dropout, with what no earlier step has to do with: a run that goes
    /// on has the same ones.
    pub fn seed_step(&self, model: &M, device: &Device) {
        if model.is_random() {
            let step = (self.steps as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            device.seed(self.seed ^ step);
        }
    }

    /// What the micro-batches of a step have to know of it.
    pub fn pass(&self, batch: &StepBatch<M::Batch>) -> GradientPass<'_> {
        let teacher = self.teacher.as_deref();
        GradientPass {
            n_targets: batch.n_targets,
            n_micro_batches: batch.micro_batches.len(),
            recompute_layers: self.recompute_layers,
            lesson: teacher.map(|(teacher, config)| (teacher, config)),
        }
    }

    /// What a step reports, which the saver hears of.
    pub fn output(&self, batch: &StepBatch<M::Batch>, losses: &[Tensor<1>]) -> StepOutput {
        let output = StepOutput {
            loss: ordered_sum(Tensor::cat(losses.to_vec(), 0)),
            n_targets: batch.n_targets,
            n_tokens: batch.n_tokens(),
            grad_norm: Arc::default(),
        };
        if let Some(saver) = &self.saver {
            saver.computed(&output);
        }
        output
    }

    /// Ends the run at a step that is not finite.
    pub fn refuse(
        &self,
        model: &M,
        batch: StepBatch<M::Batch>,
        losses: &[Tensor<1>],
        refusal: Refusal<'_>,
    ) {
        if let Some(guard) = &self.guard {
            guard.computed(batch, losses, refusal.output);
            guard.refuse(model, refusal, self.steps + 1);
        }
    }
}
