//! A stage of training from its first step to its last, as a run of Burn's loop.

use std::sync::{Arc, PoisonError};

use burn::data::dataloader::DataLoader;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::tensor::Device;
use burn::train::metric::LearningRateMetric;
use burn::train::{ExecutionStrategy, Learner, SupervisedTraining};

use super::adamw::adamw;
use super::best_model::{self, BestModel, SaveTheBest};
use super::checks::check;
use super::discard::Discard;
use super::early_stopping::StopEarly;
use super::ending::Ending;
use super::guard::{Found, Guard};
use super::mean_loss::mean_loss_until;
use super::metrics::StepMetric;
use super::parameters::Selection;
use super::quantization::QuantizationLog;
use super::resume::{self, Restored, State, StateSaver};
use super::run_log::RunLog;
use super::stage_run::{Data, StageRun};
use super::{
    FineTune, StageOutcome, StageProgress, StepLoader, TrainConfig, Trainable, WarmupSchedule,
};
use crate::error::QatError;

impl StageRun<'_> {
    /// The stage, from its beginning or from a state.
    pub(super) fn run<M: Trainable>(
        self,
        model: M,
        data: Data<M>,
        restored: Option<Restored>,
    ) -> Result<StageOutcome<M>, QatError> {
        check(&model, (&data.0, &data.1), self.config)?;
        let lesson = self.lesson(&model)?;
        let Self {
            stage,
            dir,
            config,
            console,
            interrupter: asked,
            ..
        } = self;
        let mut beginning = State::beginning(stage, config, &model, (&data.0, &data.1))?;
        if let Some((teacher, _)) = &lesson {
            beginning.fingerprint.learns_from(teacher.model());
        }
        if let Some(restored) = &restored {
            restored.check(&beginning)?;
        }
        let begun = match &restored {
            // Where states are saved may have changed.
            Some(restored) => State {
                config: config.clone(),
                ..restored.state.clone()
            },
            None => beginning,
        };
        let device = model.devices().into_iter().next().unwrap_or_default();
        let device = Device::without_autodiff(device);
        let (train_loader, valid_loader) = loaders::<M>(data, config, &device, &begun);
        std::fs::create_dir_all(dir).map_err(QatError::io(dir, "create"))?;
        let metrics_path = dir.join("metrics.jsonl");
        let n_batches = valid_loader.num_items();
        // Locks the directory.
        let log = RunLog::create(
            stage,
            &metrics_path,
            &config.report_to,
            n_batches,
            begun.history.clone(),
        )?;
        let kept = match &restored {
            Some(restored) => restored.best_step(&dir.join(best_model::FILE)),
            None => {
                resume::clear(dir)?;
                None
            }
        };
        let best = BestModel::new(dir, log.clone(), kept)?;
        let divergence = Found::default();
        // What Burn's loop is stopped with: where states are saved, not before that is done.
        let saver = (config.checkpoint_steps.is_some() || restored.is_some())
            .then(|| StateSaver::new(dir, &begun, &asked, &log, &best));
        let interrupter = match &saver {
            Some(saver) => saver.loop_interrupter.clone(),
            None => asked.clone(),
        };
        let guard = Guard::new(divergence.clone(), interrupter.clone());
        let progress = StageProgress::new(
            console,
            stage,
            (begun.step, config.steps),
            interrupter.clone(),
            divergence.clone(),
        );

        if config.eval_on_start && begun.step == 0 {
            let stop = || interrupter.should_stop();
            let loss = mean_loss_until(stage, &model, &valid_loader, stop)?;
            loss.inspect(|loss| log.started_at(*loss));
        }
        let quantization = QuantizationLog::new(&model, config, &log, begun.step == 0);
        let n_intervals = config.steps.div_ceil(config.eval_steps);
        let mut training = SupervisedTraining::new(dir, train_loader, valid_loader)
            .metric_train_numeric(StepMetric::loss())
            .metric_valid_numeric(StepMetric::loss())
            .metric_train_numeric(StepMetric::tokens())
            .metric_train_numeric(StepMetric::grad_norm())
            .metric_train_numeric(LearningRateMetric::new())
            .num_epochs(n_intervals.saturating_sub(begun.history.valid.len()))
            .with_metric_logger(log.clone())
            .with_application_logger(None)
            .with_interrupter(interrupter)
            .with_custom_checkpointers(best.clone(), Discard, Discard)
            .with_checkpointing_strategy(SaveTheBest(log.clone()))
            .with_training_strategy(ExecutionStrategy::single(device.autodiff()).into())
            .renderer(progress.into_renderer(asked));
        if let Some(patience) = config.early_stopping {
            training = training.early_stopping(StopEarly(log.clone(), patience));
        }
        if config.gradient_checkpointing && !config.recompute_layers {
            training = training.gradient_checkpointing();
        }
        let mut model = FineTune::new(model.train(), config)
            .watched(begun.step, saver, guard)
            .measured(quantization);
        if let Some((teacher, config)) = lesson {
            model = model.taught_by(teacher, config);
        }
        let selection = Selection::new(&model, config)?;
        let mut optimizer = selection.optimizer(adamw(config));
        if let Some(restored) = &restored {
            model = restored.model(model)?;
            optimizer = restored.optimizer(optimizer)?;
        }
        let model = selection.freeze(model);
        let schedule = WarmupSchedule::new(config).starting_at(begun.step);
        let schedule = ModuleLrScheduler::new(schedule);
        let result = training.launch(Learner::new(model, optimizer, schedule));

        let (history, logged) = log.finish(&metrics_path);
        let end = Ending {
            stage,
            dir,
            config,
            history,
            best,
            last: result.model,
        };
        let divergence = divergence
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(divergence) = divergence {
            return Err(end.diverged(divergence));
        }
        match (result.error, logged) {
            (Some(error), _) => Err(end.stopped(error.to_string())),
            (None, Err(error)) => Err(end.stopped(error.to_string())),
            (None, Ok(())) => end.outcome(),
        }
    }
}

type Loaders<M> = (Arc<StepLoader<M>>, Arc<StepLoader<M>>);

fn loaders<M: Trainable>(
    (train, valid): Data<M>,
    config: &TrainConfig,
    device: &Device,
    begun: &State,
) -> Loaders<M> {
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
    let valid = StepLoader::valid(valid, config.micro_batch_size, device);
    (Arc::new(train), Arc::new(valid))
}
