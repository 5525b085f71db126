use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

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
use super::ending::Ending;
use super::metrics::StepMetric;
use super::resume::{self, Restored, State, StateSaver};
use super::run_log::RunLog;
use super::{Console, FineTune, StageOutcome, StageProgress, TrainConfig, WarmupCosine};
use crate::data::{StepLoader, TokenizedExample};
use crate::error::QatError;

type Data = (Vec<TokenizedExample>, Vec<TokenizedExample>);

/// Trains a model: SFT as it is, QAT when quantizers were inserted. The model with the lowest
/// validation loss is kept in `dir` while training and returned at the end.
///
/// `dir` receives `metrics.jsonl` and must exist. With [`TrainConfig::checkpoint_steps`] it also receives states
/// that [`resume`] goes on from; those of an earlier run are removed.
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
    let stage = Stage { stage, dir, config };
    stage.run(model, data, (console, interrupter), None)
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
    let restored = Restored::find(dir)?.ok_or_else(|| QatError::Resume {
        path: dir.to_path_buf(),
        message: "has no state of a run to go on from; begin a new run".into(),
    })?;
    let stage = Stage { stage, dir, config };
    stage.run(model, data, (console, interrupter), Some(restored))
}

/// What a run is called, where it writes and how it trains.
struct Stage<'a> {
    stage: &'a str,
    dir: &'a Path,
    config: &'a TrainConfig,
}

impl Stage<'_> {
    fn run(
        &self,
        model: GptOss,
        data: Data,
        (console, asked): (Console, Interrupter),
        restored: Option<Restored>,
    ) -> Result<StageOutcome, QatError> {
        let Self { stage, dir, config } = *self;
        check(&model, (&data.0, &data.1), config)?;
        let beginning = State::beginning(stage, config, &model, (&data.0, &data.1));
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
        let divergence = Arc::new(Mutex::new(None));
        // What Burn's loop is stopped with: where states are saved, not before that is done.
        let saver = (config.checkpoint_steps.is_some() || restored.is_some())
            .then(|| StateSaver::new(dir, &begun, &asked, &log, &best));
        let interrupter = match &saver {
            Some(saver) => saver.loop_interrupter.clone(),
            None => asked,
        };
        let progress = StageProgress::new(
            console,
            stage,
            (begun.step, config.steps),
            interrupter.clone(),
            divergence.clone(),
        );

        let n_intervals = config.steps.div_ceil(config.eval_steps);
        let mut training = SupervisedTraining::new(dir, train_loader, valid_loader)
            .metric_train_numeric(StepMetric::loss())
            .metric_valid_numeric(StepMetric::loss())
            .metric_train_numeric(StepMetric::tokens())
            .metric_train_numeric(LearningRateMetric::new())
            .num_epochs(n_intervals.saturating_sub(begun.history.valid.len()))
            .with_metric_logger(log.clone())
            .with_application_logger(None)
            .with_interrupter(interrupter)
            .with_custom_checkpointers(best.clone(), Discard, Discard)
            .with_checkpointing_strategy(SaveTheBest(log.clone()))
            .with_training_strategy(ExecutionStrategy::single(device.autodiff()).into())
            .renderer(Box::new(progress));
        if config.gradient_checkpointing && !config.recompute_layers {
            training = training.gradient_checkpointing();
        }
        let mut model = FineTune::new(model.train(), config).saving(begun.step, saver);
        let mut optimizer = adamw(config);
        if let Some(restored) = &restored {
            model = restored.model(model)?;
            optimizer = restored.optimizer(optimizer)?;
        }
        let schedule = WarmupCosine::of(config).starting_at(begun.step);
        let schedule = ModuleLrScheduler::new(schedule);
        let result = training.launch(Learner::new(model, optimizer, schedule));

        let (history, logged) = log.finish(&metrics_path);
        let end = Ending {
            stage,
            dir,
            steps: config.steps,
            history,
            best,
            last: result.model,
        };
        let divergence = *divergence.lock().unwrap_or_else(PoisonError::into_inner);
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
