use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use burn::data::dataloader::DataLoader;
use burn::module::Module;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::tensor::Device;
use burn::train::metric::LearningRateMetric;
use burn::train::{ExecutionStrategy, Interrupter, Learner, SupervisedTraining};
use burn_gpt_oss::GptOss;

use super::adamw::adamw;
use super::best_model::{self, BestModel, SaveTheBest};
use super::checks::check;
use super::discard::Discard;
use super::early_stopping::StopEarly;
use super::ending::Ending;
use super::guard::{Found, Guard};
use super::metrics::StepMetric;
use super::parameters::Selection;
use super::quantization::QuantizationLog;
use super::resume::{self, Restored, State, StateSaver};
use super::run_log::RunLog;
use super::{Console, FineTune, StageOutcome, StageProgress, TrainConfig, WarmupSchedule};
use crate::data::{StepLoader, TokenizedExample};
use crate::distill::{DistillConfig, Teacher};
use crate::error::QatError;
use crate::evaluate::evaluate_loss;

type Data = (Vec<TokenizedExample>, Vec<TokenizedExample>);

/// Trains a model: SFT as it is, QAT when quantizers were inserted. The model with the lowest
/// validation loss is kept in `dir` while training and returned at the end.
///
/// `dir` receives `metrics.jsonl` and must exist. With [`TrainConfig::checkpoint_steps`] it also receives states
/// that [`resume`] goes on from; those of an earlier run are removed. [`StageRun`] is the same with a teacher.
///
/// # Errors
/// Settings out of range, a directory that another run writes to, failures of files and devices, and
/// [`QatError::Diverged`] for a training or validation loss that is not finite. If a model was kept until
/// then, the error holds it; [`QatError::take_kept`] returns it.
pub fn train(
    stage: &str,
    dir: &Path,
    model: GptOss,
    data: (Vec<TokenizedExample>, Vec<TokenizedExample>),
    config: &TrainConfig,
    console: Console,
    interrupter: Interrupter,
) -> Result<StageOutcome, QatError> {
    StageRun::new(stage, dir, config, console, interrupter).train(model, data)
}

/// Goes on with a run of [`train`] that ended early, from the last state in its directory: the curves are those of
/// a run that did not end. `model` is the one that the run began with.
///
/// # Errors
/// [`QatError::Resume`] if there is no state, it cannot be read, or settings, data or model are others, by name; and
/// those of `train`.
pub fn resume(
    stage: &str,
    dir: &Path,
    model: GptOss,
    data: (Vec<TokenizedExample>, Vec<TokenizedExample>),
    config: &TrainConfig,
    console: Console,
    interrupter: Interrupter,
) -> Result<StageOutcome, QatError> {
    StageRun::new(stage, dir, config, console, interrupter).resume(model, data)
}

/// A stage of training: what it is called, where it writes, how it trains, who watches it and stops it.
pub struct StageRun<'a> {
    stage: &'a str,
    dir: &'a Path,
    config: &'a TrainConfig,
    console: Console,
    interrupter: Interrupter,
    teacher: Option<Teacher>,
}

impl<'a> StageRun<'a> {
    /// A stage without a teacher.
    pub fn new(
        stage: &'a str,
        dir: &'a Path,
        config: &'a TrainConfig,
        console: Console,
        interrupter: Interrupter,
    ) -> Self {
        Self {
            stage,
            dir,
            config,
            console,
            interrupter,
            teacher: None,
        }
    }

    /// The same with a teacher, for [`TrainConfig::distill`].
    pub fn with_teacher(self, teacher: Teacher) -> Self {
        Self {
            teacher: Some(teacher),
            ..self
        }
    }

    /// See [`train`].
    ///
    /// # Errors
    /// Those of [`train`], and a teacher that is missing, not asked for, or has other tokens.
    pub fn train(
        self,
        model: GptOss,
        data: (Vec<TokenizedExample>, Vec<TokenizedExample>),
    ) -> Result<StageOutcome, QatError> {
        self.run(model, data, None)
    }

    /// See [`resume`].
    ///
    /// # Errors
    /// Those of [`resume`] and of [`train`](Self::train).
    pub fn resume(
        self,
        model: GptOss,
        data: (Vec<TokenizedExample>, Vec<TokenizedExample>),
    ) -> Result<StageOutcome, QatError> {
        let restored = Restored::find(self.dir)?.ok_or_else(|| QatError::Resume {
            path: self.dir.to_path_buf(),
            message: "has no state of a run to go on from; begin a new run".into(),
        })?;
        self.run(model, data, Some(restored))
    }

    /// The teacher and how it teaches.
    fn lesson(&self, student: &GptOss) -> Result<Option<(Teacher, DistillConfig)>, QatError> {
        let refuse = |expected: &str, found: &str| {
            Err(QatError::Setting {
                key: "teacher",
                expected: expected.into(),
                found: found.into(),
            })
        };
        match (&self.teacher, self.config.distill) {
            (None, None) => Ok(None),
            (Some(teacher), Some(config)) => {
                teacher.check(student)?;
                Ok(Some((teacher.clone(), config)))
            }
            (None, Some(_)) => refuse("a model, since `distill` is set", "none"),
            (Some(_), None) => refuse("none, or `distill` set", "a model"),
        }
    }

    fn run(
        self,
        model: GptOss,
        data: Data,
        restored: Option<Restored>,
    ) -> Result<StageOutcome, QatError> {
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
        let mut beginning = State::beginning(stage, config, &model, (&data.0, &data.1));
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
        // For an evaluation outside of Burn's loop.
        let valid = match config.eval_on_start {
            true => data.1.clone(),
            false => Vec::new(),
        };
        let (train_loader, valid_loader) = loaders(data, config, &device, &begun);
        let metrics_path = dir.join("metrics.jsonl");
        let n_batches = valid_loader.num_items();
        // Locks the directory.
        let log = RunLog::create(stage, &metrics_path, n_batches, begun.history.clone())?;
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
            None => asked,
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
            let loss = loss_on_start(&model, &valid, config, &device, &interrupter)?;
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
            .renderer(Box::new(progress));
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

/// The validation loss before the first step; none if the run is to stop.
fn loss_on_start(
    model: &GptOss,
    valid: &[TokenizedExample],
    config: &TrainConfig,
    device: &Device,
    interrupter: &Interrupter,
) -> Result<Option<f64>, QatError> {
    let sizes = (config.micro_batch_size, config.parallel_micro_batches);
    let flow = |_| match interrupter.should_stop() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let report = evaluate_loss(&model.valid(), valid, sizes, device, flow)?;
    Ok(report.map(|report| report.loss))
}

type Loaders = (Arc<StepLoader>, Arc<StepLoader>);

fn loaders((train, valid): Data, config: &TrainConfig, device: &Device, begun: &State) -> Loaders {
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
