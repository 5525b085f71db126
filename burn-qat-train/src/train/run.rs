use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use burn::data::dataloader::DataLoader;
use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::Device;
use burn::train::checkpoint::{FileCheckpointer, MetricCheckpointingStrategy};
use burn::train::metric::LearningRateMetric;
use burn::train::metric::store::{Aggregate, Direction, Split};
use burn::train::{ExecutionStrategy, Interrupter, Learner, SupervisedTraining};
use burn_gpt_oss::GptOss;

use super::adamw::adamw;
use super::discard::Discard;
use super::history::RunLog;
use super::metrics::StepMetric;
use super::{Console, FineTune, History, StageProgress, TrainConfig, WarmupCosine};
use crate::QatError;
use crate::data::{StepLoader, TokenizedExample};

/// What a training stage ended with.
#[derive(Debug)]
pub struct StageOutcome {
    /// The model with the lowest validation loss, without gradients; quantizers stay attached.
    pub model: GptOss,
    /// The curves.
    pub history: History,
    /// Optimizer steps behind `model`.
    pub best_step: usize,
    /// Whether the stage was stopped before its last step.
    pub interrupted: bool,
}

/// Trains a model: SFT as it is, QAT when quantizers were inserted. The model with the lowest
/// validation loss is kept in `dir` while training and returned at the end.
///
/// `dir` receives `metrics.jsonl` and must exist.
///
/// # Errors
/// Settings out of range, a loss that is not finite, and failures of files and devices.
pub fn train(
    stage: &str,
    dir: &Path,
    model: GptOss,
    data: (Vec<TokenizedExample>, Vec<TokenizedExample>),
    config: &TrainConfig,
    console: Console,
    interrupter: Interrupter,
) -> Result<StageOutcome, QatError> {
    config.check()?;
    for (key, examples) in [("training data", &data.0), ("validation data", &data.1)] {
        check_examples(key, examples)?;
    }
    let device = model.devices().into_iter().next().unwrap_or_default();
    let device = Device::without_autodiff(device);
    let (train_loader, valid_loader) = loaders(data, config, &device);
    let metrics_path = dir.join("metrics.jsonl");
    let log = RunLog::create(stage, &metrics_path, valid_loader.num_items())?;
    let divergence = Arc::new(Mutex::new(None));
    let progress = StageProgress::new(
        console,
        stage,
        config.steps,
        interrupter.clone(),
        divergence.clone(),
    );

    let mut training = SupervisedTraining::new(dir, train_loader, valid_loader)
        .metric_train_numeric(StepMetric::loss())
        .metric_valid_numeric(StepMetric::loss())
        .metric_train_numeric(StepMetric::tokens())
        .metric_train_numeric(LearningRateMetric::new())
        .num_epochs(config.steps.div_ceil(config.eval_steps))
        .with_metric_logger(log.clone())
        .with_application_logger(None)
        .with_interrupter(interrupter)
        .with_custom_checkpointers(FileCheckpointer::new(dir, "model"), Discard, Discard)
        .with_checkpointing_strategy(MetricCheckpointingStrategy::new(
            &StepMetric::loss(),
            Aggregate::Mean,
            Direction::Lowest,
            Split::Valid,
        ))
        .with_training_strategy(ExecutionStrategy::single(device.autodiff()).into())
        .renderer(Box::new(progress));
    if config.gradient_checkpointing && !config.recompute_layers {
        training = training.gradient_checkpointing();
    }
    let model = FineTune::new(model.train(), config);
    let result = training.launch(Learner::new(model, adamw(config), schedule(config)));

    if let Some((step, loss)) = *divergence.lock().unwrap_or_else(PoisonError::into_inner) {
        return Err(QatError::Diverged {
            stage: stage.into(),
            step,
            loss,
        });
    }
    if let Some(error) = result.error {
        return Err(QatError::Training {
            stage: stage.into(),
            message: error.to_string(),
        });
    }
    let history = log.finish(&metrics_path)?;
    let (model, best_step) = best_model(dir, stage, result.model, &history)?;
    Ok(StageOutcome {
        model: model.model,
        best_step,
        interrupted: history.train.len() < config.steps
            || history
                .valid
                .last()
                .is_none_or(|point| point.step < config.steps),
        history,
    })
}

fn check_examples(key: &'static str, examples: &[TokenizedExample]) -> Result<(), QatError> {
    let unusable = examples.iter().position(|example| example.n_targets() == 0);
    let (holds, found) = match unusable {
        Some(i) => (false, format!("example {i} without a target")),
        None => (!examples.is_empty(), "empty".into()),
    };
    match holds {
        true => Ok(()),
        false => Err(QatError::Setting {
            key,
            expected: "examples with targets".into(),
            found,
        }),
    }
}

type Loaders = (Arc<StepLoader>, Arc<StepLoader>);

fn loaders(
    (train, valid): (Vec<TokenizedExample>, Vec<TokenizedExample>),
    config: &TrainConfig,
    device: &Device,
) -> Loaders {
    let train = StepLoader::train(
        train,
        config.batch_size,
        config.micro_batch_size,
        config.steps,
        config.eval_steps,
        config.seed,
        device,
    );
    let valid = StepLoader::valid(valid, config.micro_batch_size, device);
    (Arc::new(train), Arc::new(valid))
}

fn schedule(
    config: &TrainConfig,
) -> burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler {
    let TrainConfig {
        learning_rate,
        min_lr_ratio,
        warmup_ratio,
        steps,
        ..
    } = *config;
    let schedule = WarmupCosine::new(learning_rate, min_lr_ratio, warmup_ratio, steps);
    burn::optim::lr_scheduler::module_lr_scheduler::ModuleLrScheduler::new(schedule)
}

/// The kept model if it is better than the last one, and the steps behind it.
fn best_model(
    dir: &Path,
    stage: &str,
    last: FineTune,
    history: &History,
) -> Result<(FineTune, usize), QatError> {
    let Some(best) = history.best_interval() else {
        return Ok((last, history.train.len()));
    };
    let path = dir.join(format!("model-{}.bpk", best + 1));
    let step = history.valid[best].step;
    if step == history.train.len() {
        let _ = std::fs::remove_file(&path);
        return Ok((last, step));
    }
    let record = ModuleRecord::load(path.clone()).map_err(|error| QatError::Training {
        stage: stage.into(),
        message: format!(
            "{}: the best model cannot be read back: {error}",
            path.display()
        ),
    })?;
    let model = last.load_record(record);
    let _ = std::fs::remove_file(&path);
    Ok((model, step))
}
