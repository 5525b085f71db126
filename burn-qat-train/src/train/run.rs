use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use burn::data::dataloader::DataLoader;
use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};
use burn::train::metric::LearningRateMetric;
use burn::train::{ExecutionStrategy, Interrupter, Learner, SupervisedTraining};
use burn_fp4::LowRankAdapter;
use burn_gpt_oss::GptOss;

use super::adamw::adamw;
use super::best_model::{BestModel, SaveTheBest};
use super::discard::Discard;
use super::ending::Ending;
use super::history::RunLog;
use super::metrics::StepMetric;
use super::{Console, FineTune, StageOutcome, StageProgress, TrainConfig, WarmupCosine};
use crate::data::{StepLoader, TokenizedExample};
use crate::error::QatError;

/// Trains a model: SFT as it is, QAT when quantizers were inserted. The model with the lowest
/// validation loss is kept in `dir` while training and returned at the end.
///
/// `dir` receives `metrics.jsonl` and must exist.
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
    config.check()?;
    check_master_weights(&model, config)?;
    for (key, examples) in [("training data", &data.0), ("validation data", &data.1)] {
        check_examples(key, examples)?;
    }
    let device = model.devices().into_iter().next().unwrap_or_default();
    let device = Device::without_autodiff(device);
    let (train_loader, valid_loader) = loaders(data, config, &device);
    let metrics_path = dir.join("metrics.jsonl");
    let log = RunLog::create(stage, &metrics_path, valid_loader.num_items())?;
    let best = BestModel::new(dir, log.clone())?;
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
        .with_custom_checkpointers(best.clone(), Discard, Discard)
        .with_checkpointing_strategy(SaveTheBest(log.clone()))
        .with_training_strategy(ExecutionStrategy::single(device.autodiff()).into())
        .renderer(Box::new(progress));
    if config.gradient_checkpointing && !config.recompute_layers {
        training = training.gradient_checkpointing();
    }
    let model = FineTune::new(model.train(), config);
    let result = training.launch(Learner::new(model, adamw(config), schedule(config)));

    let (history, logged) = log.finish(&metrics_path);
    let end = Ending {
        stage,
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

/// With adapters the factors are what trains, and they are float32; the base is as it was loaded.
fn check_master_weights(model: &GptOss, config: &TrainConfig) -> Result<(), QatError> {
    if model.has_adapters() {
        return check_dropout(model, config);
    }
    let master = DType::from(config.element_types.master);
    let found = model.embed_tokens.weight.val().dtype();
    match found == master {
        true => Ok(()),
        false => Err(QatError::Setting {
            key: "element_types.master",
            expected: format!("{found:?}, the type that the model was loaded with"),
            found: format!("{master:?}"),
        }),
    }
}

/// A layer that runs again must see what it saw before.
fn check_dropout(model: &GptOss, config: &TrainConfig) -> Result<(), QatError> {
    let mut matrices = model.matrices().into_iter();
    let drops = |(_, weight): (String, &Param<Tensor<2>>)| {
        let adapter = weight.reparameterization::<LowRankAdapter<2>>();
        adapter.is_some_and(|adapter| adapter.dropout() > 0.0)
    };
    match config.recompute_layers && matrices.any(drops) {
        true => Err(QatError::Setting {
            key: "dropout",
            expected: "0 where layers are recomputed".into(),
            found: "above 0".into(),
        }),
        false => Ok(()),
    }
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
