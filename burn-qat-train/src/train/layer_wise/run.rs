//! Burn's loop of one device, with a step that updates while it goes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use burn::data::dataloader::Progress;
use burn::module::Module;
use burn::tensor::Device;
use burn::train::checkpoint::CheckpointerError;
use burn::train::{
    EventProcessorTraining, InferenceStep, Interrupter, Learner, LearnerEvent,
    SupervisedLearningStrategy, SupervisedTrainingEventProcessor, TrainLoader, TrainingComponents,
    TrainingItem, ValidLoader,
};

use super::step::LayerWiseOptimizer;
use crate::train::best_model::{BestModel, is_best};
use crate::train::run_log::RunLog;
use crate::train::{FineTune, Trainable, WarmupSchedule};

/// A strategy of Burn's training whose model is never there twice.
pub(in crate::train) struct LayerWiseTraining {
    pub device: Device,
    pub optimizer: Mutex<LayerWiseOptimizer>,
    pub schedule: WarmupSchedule,
    pub log: RunLog,
    pub best: BestModel,
    /// Set where a step ended between its first update and its last.
    pub half_updated: Arc<AtomicBool>,
}

type Events<M> = SupervisedTrainingEventProcessor<FineTune<M>>;

impl<M: Trainable> SupervisedLearningStrategy<FineTune<M>> for LayerWiseTraining {
    fn fit(
        &self,
        components: TrainingComponents<FineTune<M>>,
        mut learner: Learner<FineTune<M>>,
        train: TrainLoader<FineTune<M>>,
        valid: ValidLoader<FineTune<M>>,
        starting_epoch: usize,
    ) -> (FineTune<M>, Events<M>) {
        let train = train.to_device(&self.device);
        let valid = valid.to_device(&self.device.clone().inner());
        learner.fork(&self.device);
        let mut model = learner.model();
        drop(learner);
        let interrupter = components.interrupter;
        let mut events = components.event_processor;
        let mut early_stopping = components.early_stopping;
        for epoch in starting_epoch..=components.num_epochs {
            interrupter.fail_on_error(events.process_train(LearnerEvent::StartSplit {
                epoch_number: epoch,
                total_items: train.num_items(),
            }));
            model = self.train_interval(model, &train, &mut events, &interrupter);
            interrupter.fail_on_error(events.process_train(LearnerEvent::EndSplit(epoch)));
            if interrupter.should_stop() {
                break;
            }
            interrupter.fail_on_error(events.process_valid(LearnerEvent::StartSplit {
                epoch_number: epoch,
                total_items: valid.num_items(),
            }));
            evaluate(&model, &valid, &mut events, &interrupter);
            interrupter.fail_on_error(events.process_valid(LearnerEvent::EndSplit(epoch)));
            interrupter.fail_on_error(events.process_train(LearnerEvent::EndEpoch(epoch)));
            interrupter.fail_on_error(events.flush());
            if interrupter.should_stop() {
                break;
            }
            if is_best(&self.log, epoch, &components.event_store) {
                // Not on a thread of its own: the next step would find the weights shared, and copy them.
                if let Err(error) = self.best.keep(epoch, &model) {
                    interrupter.fail(CheckpointerError::Unknown(error.to_string()));
                }
            }
            if let Some(early_stopping) = &mut early_stopping
                && early_stopping.should_stop(epoch, &components.event_store)
            {
                break;
            }
        }
        (model, events)
    }
}

impl LayerWiseTraining {
    fn train_interval<M: Trainable>(
        &self,
        mut model: FineTune<M>,
        loader: &TrainLoader<FineTune<M>>,
        events: &mut Events<M>,
        interrupter: &Interrupter,
    ) -> FineTune<M> {
        let mut optimizer = self
            .optimizer
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut batches = loader.iter();
        let mut iteration = 0;
        while let Some(batch) = batches.next() {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    interrupter.fail(error);
                    break;
                }
            };
            iteration += 1;
            let progress: Progress = batches.progress();
            let rate = self.schedule.rate(model.steps_done());
            let (stepped, output) = optimizer.step(model, batch, rate);
            model = stepped;
            let output = match output {
                Ok(output) => output,
                Err(error) => {
                    self.half_updated.store(true, Ordering::Relaxed);
                    interrupter.fail(CheckpointerError::IOError(error));
                    break;
                }
            };
            let item = TrainingItem::new(output, progress, Some(iteration), Some(rate.into()));
            interrupter.fail_on_error(events.process_train(LearnerEvent::ProcessedItem(item)));
            if interrupter.should_stop() {
                break;
            }
        }
        model
    }
}

fn evaluate<M: Trainable>(
    model: &FineTune<M>,
    loader: &ValidLoader<FineTune<M>>,
    events: &mut Events<M>,
    interrupter: &Interrupter,
) {
    let model = model.valid();
    let mut batches = loader.iter();
    let mut iteration = 0;
    while let Some(batch) = batches.next() {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                interrupter.fail(error);
                break;
            }
        };
        iteration += 1;
        let progress = batches.progress();
        let output = InferenceStep::step(&model, batch);
        let item = TrainingItem::new(output, progress, Some(iteration), None);
        interrupter.fail_on_error(events.process_valid(LearnerEvent::ProcessedItem(item)));
        if interrupter.should_stop() {
            break;
        }
    }
}
