mod module;
mod output;
mod setup;

pub(super) use module::MODEL;
pub use output::StepOutput;
pub(super) use setup::Setup;

use std::borrow::Cow;
use std::sync::Arc;

use burn::module::Module;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use burn_fp4::refresh_global_amax;
use burn_gpt_oss::GptOss;
use burn_gpt_oss::ops::ordered_sum;
use rayon::prelude::*;

use super::clip::{global_norm, scaled};
use super::guard::Guard;
use super::quantization::QuantizationLog;
use super::resume::{OptimizerFile, StateSaver};
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
    setup: Setup<M>,
}

impl<M: Trainable> FineTune<M> {
    /// Wraps a module.
    pub fn new(model: M, config: &TrainConfig) -> Self {
        Setup::new(config).with(model)
    }

    /// The same with a teacher, whose distribution is learned as the configuration says.
    pub fn taught_by(mut self, teacher: Teacher, config: DistillConfig) -> Self {
        self.setup.teacher = Some(Arc::new((teacher, config)));
        self
    }

    /// The same with a history of steps, states that are saved, and a guard.
    pub(super) fn watched(
        mut self,
        steps: usize,
        saver: Option<Arc<StateSaver>>,
        guard: Arc<Guard<M>>,
    ) -> Self {
        self.setup.steps = steps;
        self.setup.saver = saver;
        self.setup.guard = Some(guard);
        self
    }

    /// The same with a log of quantized weights.
    pub(super) fn measured(mut self, quantization: Option<Arc<QuantizationLog>>) -> Self {
        self.setup.quantization = quantization;
        self
    }

    /// The module, and what is known of its training.
    pub(super) fn into_parts(self) -> (M, Setup<M>) {
        (self.model, self.setup)
    }

    /// Optimizer steps done.
    pub(super) fn steps_done(&self) -> usize {
        self.setup.steps
    }

    /// What follows an update of the weights.
    pub(super) fn updated(mut self, optimizer: &dyn OptimizerFile) -> Self {
        self.setup.steps += 1;
        if self.setup.global_refresh.is_due(self.setup.steps) {
            self = refresh_global_amax(self);
        }
        if let Some(log) = &self.setup.quantization {
            log.updated(&self.model, self.setup.steps);
        }
        if let Some(saver) = self.setup.saver.clone() {
            saver.updated(&self, optimizer);
        }
        self
    }

    /// The gradients, scaled where they are too large; none if nothing may change.
    fn clipped(&self, grads: GradientsParams) -> Option<GradientsParams> {
        let (max_grad_norm, guard) = (self.setup.max_grad_norm, &self.setup.guard);
        if max_grad_norm.is_none() && guard.is_none() {
            return Some(grads);
        }
        let Some(norm) = global_norm(self, &grads) else {
            return Some(grads);
        };
        let allowed = guard.as_ref().is_none_or(|guard| {
            let step = self.setup.steps + 1;
            guard.allows(&self.model, &grads, &norm, step)
        });
        allowed.then(|| match max_grad_norm {
            Some(max_norm) => scaled(self, grads, norm, max_norm),
            None => grads,
        })
    }
}

impl<M: Trainable> FineTune<M> {
    /// What the micro-batches of a step share: several need quantized weights only once. That keeps
    /// them for all layers at a time, which recomputation is there to avoid.
    fn for_micro_batches(&self, n_micro_batches: usize) -> Cow<'_, Self> {
        if n_micro_batches == 1 || self.setup.recompute_layers {
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
        let n_micro_batches = batch.micro_batches.len();
        self.setup.seed_step(&self.model, &self.devices()[0]);
        let model = self.for_micro_batches(n_micro_batches);
        let pass = self.setup.pass(&batch);
        let mut accumulator = GradientsAccumulator::new();
        let mut losses = Vec::with_capacity(n_micro_batches);
        for group in batch
            .micro_batches
            .chunks(self.setup.parallel_micro_batches)
        {
            for (loss, grads) in model.micro_steps(group, pass) {
                losses.push(loss);
                accumulator.accumulate(self, grads);
            }
        }
        let item = self.setup.output(&batch, &losses);
        if let Some(guard) = &self.setup.guard {
            guard.computed(batch, &losses, &item);
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
        let stepped = optimizer.step(rate, self, grads);
        stepped.updated(optimizer)
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
        if let Some(saver) = &self.setup.saver {
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
