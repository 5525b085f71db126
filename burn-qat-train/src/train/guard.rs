//! Steps whose loss or gradient is not finite: found before they change a weight, and traced to where they begin.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::train::Interrupter;

use super::step::StepOutput;
use super::{StepBatch, Trainable};

/// Where a loss or gradient was no longer finite.
#[derive(Clone, Debug, PartialEq)]
pub struct NonFiniteStep {
    /// `training` or `validation`.
    pub split: &'static str,
    /// Optimizer step, from 1.
    pub step: usize,
    /// The loss.
    pub loss: f64,
    /// The layer or the parameter where it begins, if that is known.
    pub place: Option<String>,
    /// The examples of the batch, by their numbers in the training data.
    pub examples: Vec<usize>,
}

impl fmt::Display for NonFiniteStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            split, step, loss, ..
        } = self;
        write!(f, "the {split} loss is {loss} at step {step}")?;
        self.place
            .as_ref()
            .map_or(Ok(()), |place| write!(f, ", {place}"))
    }
}

/// The first divergence of a run.
pub(super) type Found = Arc<Mutex<Option<NonFiniteStep>>>;

/// Watches the steps of a run.
pub(super) struct Guard<M: Trainable> {
    seen: Mutex<Option<Seen<M>>>,
    found: Found,
    /// What stops the loop.
    interrupter: Interrupter,
}

/// The step that is being computed.
struct Seen<M: Trainable> {
    batch: StepBatch<M::Batch>,
    losses: Vec<Tensor<1>>,
    output: StepOutput,
}

impl<M: Trainable> fmt::Debug for Guard<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl<M: Trainable> Guard<M> {
    pub fn new(found: Found, interrupter: Interrupter) -> Arc<Self> {
        Arc::new(Self {
            seen: Mutex::new(None),
            found,
            interrupter,
        })
    }

    /// Hears of a step, before its update.
    pub fn computed(&self, batch: StepBatch<M::Batch>, losses: &[Tensor<1>], output: &StepOutput) {
        let seen = Seen {
            batch,
            losses: losses.to_vec(),
            output: output.clone(),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }

    /// Whether a step with this norm of all gradients may change the weights. If not, the run ends.
    pub fn allows(
        &self,
        model: &M,
        gradients: &GradientsParams,
        norm: &Tensor<1>,
        step: usize,
    ) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = seen.take() else { return true };
        // A device that cannot be read fails elsewhere, with a better message.
        let Ok(norm) = norm.clone().try_into_scalar::<f64>() else {
            return true;
        };
        seen.output.grad_norm.set(norm).unwrap_or_default();
        if norm.is_finite() {
            return true;
        }
        self.ends(seen.traced(model, || first_gradient(model, gradients), step));
        false
    }

    /// Ends the run at the step that was computed last, whose gradients were measured and dropped.
    pub fn refuse(&self, model: &M, refusal: Refusal<'_>, step: usize) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = seen.take() else { return };
        seen.output.grad_norm.set(refusal.norm).unwrap_or_default();
        self.ends(seen.traced(model, || of_gradient(refusal.parameter), step));
    }

    fn ends(&self, divergence: NonFiniteStep) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.get_or_insert(divergence);
        self.interrupter.stop(Some("a step is not finite"));
    }
}

/// Gradients whose norm is not finite.
pub(super) struct Refusal<'a> {
    /// What the step would have reported.
    pub output: &'a StepOutput,
    /// The norm of all gradients.
    pub norm: f64,
    /// The first parameter whose gradient is not finite.
    pub parameter: Option<&'a str>,
}

impl<M: Trainable> Seen<M> {
    fn traced(
        &self,
        model: &M,
        first_gradient: impl FnOnce() -> Option<String>,
        step: usize,
    ) -> NonFiniteStep {
        let scalar = |loss: &Tensor<1>| loss.clone().try_into_scalar::<f64>().unwrap_or(f64::NAN);
        let loss = scalar(&self.output.loss);
        let bad = self
            .losses
            .iter()
            .position(|loss| !scalar(loss).is_finite());
        let (place, examples) = match bad {
            Some(bad) => (
                model.first_non_finite(&self.batch.micro_batches[bad]),
                self.batch.examples_of(bad).to_vec(),
            ),
            None => (first_gradient(), self.batch.examples.clone()),
        };
        NonFiniteStep {
            split: "training",
            step,
            loss,
            place,
            examples,
        }
    }
}

fn first_gradient<M: Module>(model: &M, gradients: &GradientsParams) -> Option<String> {
    struct First<'a> {
        gradients: &'a GradientsParams,
        path: Vec<String>,
        found: Option<String>,
    }

    impl ModuleVisitor for First<'_> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.into());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.found.is_some() {
                return;
            }
            let gradient = self.gradients.get::<D>(param.id);
            if gradient.is_some_and(|gradient| !is_finite(&gradient)) {
                self.found = Some(self.path.join("."));
            }
        }
    }

    let mut first = First {
        gradients,
        path: Vec::new(),
        found: None,
    };
    model.visit(&mut first);
    of_gradient(first.found.as_deref())
}

fn of_gradient(parameter: Option<&str>) -> Option<String> {
    match parameter {
        Some(path) => Some(format!("the gradient of `{path}` is not finite")),
        None => Some("every gradient is finite, the norm of all is not".into()),
    }
}

pub(super) fn is_finite<const D: usize>(values: &Tensor<D>) -> bool {
    let sum = values.clone().abs().max();
    sum.try_into_scalar::<f64>().is_ok_and(f64::is_finite)
}
