mod module;
mod output;

pub(super) use module::MODEL;
pub use output::StepOutput;

use std::borrow::Cow;
use std::sync::Arc;

use burn::module::Module;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use burn_fp4::{GlobalRefresh, refresh_global_amax};
use burn_gpt_oss::GptOss;
use burn_gpt_oss::ops::ordered_sum;
use rayon::prelude::*;

use super::clip::{global_norm, scaled};
use super::guard::Guard;
use super::quantization::QuantizationLog;
use super::resume::StateSaver;
use super::{GradientPass, StepBatch, TrainConfig, Trainable};
use crate::distill::{DistillConfig, Teacher};

/// A module under training: what Burn's `Learner` steps.
///
/// A Burn module whose parameters are those of the model. Its record has the trained ones alone where the model
/// has adapters: a frozen base does not change, and may be larger than memory.
#[derive(Clone, Debug)]
pub struct FineTune<M: Trainable = GptOss> {
    /// The module.
    pub model: M,
    max_grad_norm: Option<f64>,
    parallel_micro_batches: usize,
    recompute_layers: bool,
    global_refresh: GlobalRefresh,
    /// Optimizer steps since this was made.
    steps: usize,
    /// Hears of every step, and saves the state of the run.
    saver: Option<Arc<StateSaver>>,
    /// Whom the model learns from, in place of the targets.
    teacher: Option<Arc<(Teacher, DistillConfig)>>,
    /// Hears of every step, and ends a run whose steps are not finite.
    guard: Option<Arc<Guard<M>>>,
    quantization: Option<Arc<QuantizationLog>>,
}

impl<M: Trainable> FineTune<M> {
    /// Wraps a module.
    pub fn new(model: M, config: &TrainConfig) -> Self {
        Self {
            model,
            max_grad_norm: config.max_grad_norm,
            parallel_micro_batches: config.parallel_micro_batches,
            recompute_layers: config.recompute_layers,
            global_refresh: match config.global_refresh_steps {
                Some(steps) => GlobalRefresh::Every(steps),
                None => GlobalRefresh::Frozen,
            },
            steps: 0,
            saver: None,
            teacher: None,
            guard: None,
            quantization: None,
        }
    }

    /// The same with a teacher, whose distribution is learned as the configuration says.
    pub fn taught_by(self, teacher: Teacher, config: DistillConfig) -> Self {
        Self {
            teacher: Some(Arc::new((teacher, config))),
            ..self
        }
    }

    /// The same with a history of steps, states that are saved, and a guard.
    pub(super) fn watched(
        self,
        steps: usize,
        saver: Option<Arc<StateSaver>>,
        guard: Arc<Guard<M>>,
    ) -> Self {
        Self {
            steps,
            saver,
            guard: Some(guard),
            ..self
        }
    }

    /// The same with a log of quantized weights.
    pub(super) fn measured(self, quantization: Option<Arc<QuantizationLog>>) -> Self {
        Self {
            quantization,
            ..self
        }
    }

    /// The gradients, scaled where they are too large; none if nothing may change.
    fn clipped(&self, grads: GradientsParams) -> Option<GradientsParams> {
        if self.max_grad_norm.is_none() && self.guard.is_none() {
            return Some(grads);
        }
        let Some(norm) = global_norm(self, &grads) else {
            return Some(grads);
        };
        let allowed = self.guard.as_ref().is_none_or(|guard| {
            let step = self.steps + 1;
            guard.allows(&self.model, &grads, &norm, step)
        });
        allowed.then(|| match self.max_grad_norm {
            Some(max_norm) => scaled(self, grads, norm, max_norm),
            None => grads,
        })
    }
}

impl<M: Trainable> FineTune<M> {
    /// What the micro-batches of a step share: several need quantized weights only once. That keeps
    /// them for all layers at a time, which recomputation is there to avoid.
    fn for_micro_batches(&self, n_micro_batches: usize) -> Cow<'_, Self> {
        if n_micro_batches == 1 || self.recompute_layers {
            return Cow::Borrowed(self);
        }
        match self.model.shared_by_micro_batches() {
            Some(model) => Cow::Owned(Self {
                model,
                ..self.clone()
            }),
            None => Cow::Borrowed(self),
        }
    }

    /// Runs micro-batches side by side and returns losses and gradients in their order, so that sums
    /// over them do not depend on timing.
    fn micro_steps(
        &self,
        batches: &[M::Batch],
        pass: GradientPass<'_>,
    ) -> Vec<(Tensor<1>, GradientsParams)> {
        if let [batch] = batches {
            return vec![self.model.gradients(batch, pass)];
        }
        // Autodiff keeps one lock per graph; a fork shares the weights' memory but not the graph.
        let device = self.devices()[0].clone();
        let forks: Vec<_> = batches
            .iter()
            .map(|batch| (self.model.clone().fork(&device), batch))
            .collect();
        forks
            .into_par_iter()
            .map(|(model, batch)| model.gradients(batch, pass))
            .collect()
    }
}

impl<M: Trainable> TrainStep for FineTune<M> {
    type Input = StepBatch<M::Batch>;
    type Output = StepOutput;

    /// Accumulates gradients over the micro-batches. Each loss is a sum divided by the targets of
    /// the whole batch, so the result is the mean over all of them, however they are split.
    fn step(&self, batch: StepBatch<M::Batch>) -> TrainOutput<StepOutput> {
        let (n_targets, n_tokens) = (batch.n_targets, batch.n_tokens());
        let n_micro_batches = batch.micro_batches.len();
        let model = self.for_micro_batches(n_micro_batches);
        let pass = GradientPass {
            n_targets,
            n_micro_batches,
            recompute_layers: self.recompute_layers,
            lesson: self
                .teacher
                .as_deref()
                .map(|(teacher, config)| (teacher, config)),
        };
        let mut accumulator = GradientsAccumulator::new();
        let mut losses = Vec::with_capacity(n_micro_batches);
        for group in batch.micro_batches.chunks(self.parallel_micro_batches) {
            for (loss, grads) in model.micro_steps(group, pass) {
                losses.push(loss);
                accumulator.accumulate(self, grads);
            }
        }
        let item = StepOutput {
            loss: ordered_sum(Tensor::cat(losses.clone(), 0)),
            n_targets,
            n_tokens,
            grad_norm: Arc::default(),
        };
        if let Some(guard) = &self.guard {
            guard.computed(batch, &losses, &item);
        }
        if let Some(saver) = &self.saver {
            saver.computed(&item);
        }
        TrainOutput {
            grads: accumulator.grads(),
            item,
        }
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        let Some(grads) = self.clipped(grads) else {
            return self;
        };
        let mut stepped = optimizer.step(rate, self, grads);
        stepped.steps += 1;
        if stepped.global_refresh.is_due(stepped.steps) {
            stepped = refresh_global_amax(stepped);
        }
        if let Some(log) = &stepped.quantization {
            log.updated(&stepped.model, stepped.steps);
        }
        if let Some(saver) = stepped.saver.clone() {
            saver.updated(&stepped, optimizer);
        }
        stepped
    }
}

impl<M: Trainable> InferenceStep for FineTune<M> {
    type Input = StepBatch<M::Batch>;
    type Output = StepOutput;

    fn step(&self, batch: StepBatch<M::Batch>) -> StepOutput {
        let losses = batch
            .micro_batches
            .iter()
            .map(|b| self.model.loss(b))
            .collect();
        let loss = ordered_sum(Tensor::cat(losses, 0)) / batch.n_targets as f64;
        if let Some(saver) = &self.saver {
            saver.stop_if_asked();
        }
        StepOutput {
            loss,
            n_targets: batch.n_targets,
            n_tokens: batch.n_tokens(),
            grad_norm: Arc::default(),
        }
    }
}
