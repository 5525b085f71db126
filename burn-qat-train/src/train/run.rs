//! A stage of training from its first step to its last, as a run of Burn's loop.

use std::sync::{Arc, Mutex};

use burn::data::dataloader::DataLoader;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::tensor::Device;
use burn::train::metric::LearningRateMetric;
use burn::train::{ExecutionStrategy, Learner, SupervisedTraining, TrainingStrategy};

use super::adamw::adamw;
use super::best_model::SaveTheBest;
use super::checks::check;
use super::discard::Discard;
use super::early_stopping::StopEarly;
use super::layer_wise::{LayerWiseOptimizer, LayerWiseTraining, Offload, States};
use super::mean_loss::mean_loss_until;
use super::metrics::StepMetric;
use super::parameters::Selection;
use super::quantization::QuantizationLog;
use super::resume::{Restored, State};
use super::stage_run::{Data, StageRun};
use super::watch::Watch;
use super::{
    FineTune, StageOutcome, StageProgress, StepLoader, TrainConfig, Trainable, WarmupSchedule,
};
use crate::distill::{DistillConfig, Teacher};
use crate::error::QatError;

/// The teacher and how it teaches.
type Lesson = Option<(Teacher, DistillConfig)>;

impl StageRun<'_> {
    /// The stage, from its beginning or from a state.
    pub(super) fn run<M: Trainable>(
        self,
        model: M,
        data: Data<M>,
        restored: Option<Restored>,
    ) -> Result<StageOutcome<M>, QatError> {
        // What is wrong is found before anything of an earlier run is removed.
        check(&model, (&data.0, &data.1), self.config)?;
        let selection = Selection::new(&model, self.config)?;
        let lesson = self.lesson(&model)?;
        let begun = self.begun(&model, &data, &lesson, restored.as_ref())?;
        let device = model.devices().into_iter().next().unwrap_or_default();
        let device = Device::without_autodiff(device);
        let loaders = loaders::<M>(data, self.config, &device, &begun)?;
        let watch = Watch::new(&self, &begun, restored.as_ref(), loaders.1.num_items())?;

        if self.config.eval_on_start && begun.step == 0 {
            let stop = || watch.interrupter.should_stop();
            let loss = mean_loss_until(self.stage, &model, &loaders.1, stop)?;
            loss.inspect(|loss| watch.log.started_at(*loss));
        }
        let restored = restored.as_ref();
        let learner = self.learner(model, lesson, (&selection, &watch), (&begun, restored))?;
        let strategy = self.strategy(&learner, (&selection, &watch), (&begun, restored))?;
        let result = self
            .training(loaders, strategy, &watch, &begun)
            .launch(learner);
        watch.end(&self, result)
    }

    /// What the stage begins with: nothing, or what was restored, if it is of such a stage.
    fn begun<M: Trainable>(
        &self,
        model: &M,
        data: &Data<M>,
        lesson: &Lesson,
        restored: Option<&Restored>,
    ) -> Result<State, QatError> {
        let data = (&data.0, &data.1);
        let mut beginning = State::beginning(self.stage, self.config, model, data)?;
        if let Some((teacher, _)) = lesson {
            beginning.fingerprint.learns_from(teacher.model());
        }
        let Some(restored) = restored else {
            return Ok(beginning);
        };
        restored.check(&beginning)?;
        // Where states are saved may have changed.
        Ok(State {
            config: self.config.clone(),
            ..restored.state.clone()
        })
    }

    /// The module with its optimizer and schedule, where the stage begins.
    fn learner<M: Trainable>(
        &self,
        model: M,
        lesson: Lesson,
        (selection, watch): (&Selection, &Watch<M>),
        (begun, restored): (&State, Option<&Restored>),
    ) -> Result<Learner<FineTune<M>>, QatError> {
        let config = self.config;
        let model = match config.layer_wise {
            Some(settings) => model.prepared(settings),
            None => model,
        };
        let quantization = QuantizationLog::new(&model, config, &watch.log, begun.step == 0);
        let mut model = FineTune::new(model.train(), config)
            .watched(begun.step, watch.saver.clone(), watch.guard.clone())
            .measured(quantization);
        if let Some((teacher, config)) = lesson {
            model = model.taught_by(teacher, config);
        }
        let mut optimizer = selection.optimizer(adamw(config));
        if let Some(restored) = restored {
            model = restored.model(model)?;
            if config.layer_wise.is_none() {
                optimizer = restored.optimizer(optimizer)?;
            }
        }
        let schedule = WarmupSchedule::new(config).starting_at(begun.step);
        let schedule = ModuleLrScheduler::new(schedule);
        Ok(Learner::new(selection.freeze(model), optimizer, schedule))
    }

    /// Who steps: Burn's loop of one device, or the one that updates layer by layer.
    fn strategy<M: Trainable>(
        &self,
        learner: &Learner<FineTune<M>>,
        (selection, watch): (&Selection, &Watch<M>),
        (begun, restored): (&State, Option<&Restored>),
    ) -> Result<TrainingStrategy<FineTune<M>>, QatError> {
        let module = learner.model();
        let device = module
            .model
            .devices()
            .into_iter()
            .next()
            .unwrap_or_default();
        let device = Device::without_autodiff(device);
        let (config, inner, device) = (self.config, device.clone(), device.autodiff());
        let Some(settings) = config.layer_wise else {
            return Ok(ExecutionStrategy::single(device).into());
        };
        let offload = settings.offload.then(|| Offload::new(self.dir)).transpose();
        let offload = offload.map_err(QatError::io(self.dir, "write moments into"))?;
        let states = match restored {
            Some(restored) => restored.states(&module.model, settings, offload, &inner)?,
            None => States::new(offload),
        };
        let rules = selection.rules(config);
        let optimizer = LayerWiseOptimizer::new(settings, states, rules, config);
        Ok(TrainingStrategy::Custom(Arc::new(LayerWiseTraining {
            device,
            optimizer: Mutex::new(optimizer),
            schedule: WarmupSchedule::new(&begun.config),
            log: watch.log.clone(),
            best: watch.best.clone(),
            half_updated: watch.half_updated.clone(),
        })))
    }

    /// Burn's loop: one of its epochs is the interval between two evaluations.
    fn training<M: Trainable>(
        &self,
        (train, valid): Loaders<M>,
        strategy: TrainingStrategy<FineTune<M>>,
        watch: &Watch<M>,
        begun: &State,
    ) -> SupervisedTraining<FineTune<M>> {
        let config = self.config;
        let progress = StageProgress::new(
            self.console.clone(),
            self.stage,
            (begun.step, config.steps),
            watch.interrupter.clone(),
            watch.found.clone(),
        );
        let n_intervals = config.steps.div_ceil(config.eval_steps);
        let mut training = SupervisedTraining::new(self.dir, train, valid)
            .metric_train_numeric(StepMetric::loss())
            .metric_valid_numeric(StepMetric::loss())
            .metric_train_numeric(StepMetric::tokens())
            .metric_train_numeric(StepMetric::grad_norm())
            .metric_train_numeric(LearningRateMetric::new())
            .num_epochs(n_intervals.saturating_sub(begun.history.valid.len()))
            .with_metric_logger(watch.log.clone())
            .with_application_logger(None)
            .with_interrupter(watch.interrupter.clone())
            .with_training_strategy(strategy)
            .renderer(progress.into_renderer(self.interrupter.clone()));
        if let Some(patience) = config.early_stopping {
            training = training.early_stopping(StopEarly(watch.log.clone(), patience));
        }
        if config.layer_wise.is_some() {
            return training;
        }
        training = training
            .with_custom_checkpointers(watch.best.clone(), Discard, Discard)
            .with_checkpointing_strategy(SaveTheBest(watch.log.clone()));
        match config.gradient_checkpointing && !config.recompute_layers {
            true => training.gradient_checkpointing(),
            false => training,
        }
    }
}

type Loaders<M> = (Arc<StepLoader<M>>, Arc<StepLoader<M>>);

fn loaders<M: Trainable>(
    (train, valid): Data<M>,
    config: &TrainConfig,
    device: &Device,
    begun: &State,
) -> Result<Loaders<M>, QatError> {
    let train = StepLoader::train(
        train,
        config.batch_size,
        config.micro_batch_size,
        config.steps,
        config.eval_steps,
        config.seed,
        device,
    );
    let train = match begun.step {
        0 => train,
        step => train.starting_at(step, begun.history.valid.len()),
    };
    let valid = StepLoader::valid(valid, config.micro_batch_size, device)?;
    Ok((Arc::new(train), Arc::new(valid)))
}
