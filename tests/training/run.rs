//! A short run of the golden model.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use burn_gpt_oss::GptOss;
use burn_qat_train::{QatError, StageOutcome, StageRun, TokenizedExample, TrainConfig};

use crate::model::{load, parameters};

pub const SOURCE: &str = "tiny-gpt-oss-bf16";

pub fn examples(seed: u32) -> Vec<TokenizedExample> {
    let example = |n: u32| {
        let token = |i: u32| (i * 31 + n * 17 + seed) % 90 + 1;
        TokenizedExample {
            tokens: (0..10 + n % 3).map(token).collect(),
            loss_mask: vec![true; (10 + n % 3) as usize],
            starts: Vec::new(),
        }
    };
    (0..8).map(example).collect()
}

pub fn config() -> TrainConfig {
    TrainConfig {
        steps: 6,
        batch_size: 4,
        micro_batch_size: 2,
        learning_rate: 1e-3,
        warmup_ratio: 0.0,
        eval_steps: 2,
        ..TrainConfig::default()
    }
}

pub fn start() -> GptOss {
    load(SOURCE, &Device::flex())
}

pub fn run_in(dir: &Path, model: GptOss, config: &TrainConfig) -> Result<StageOutcome, QatError> {
    let data = (examples(1), examples(5));
    StageRun::new("test", dir, config).train(model, data)
}

pub fn run(config: &TrainConfig) -> StageOutcome {
    let dir = tempfile::tempdir().unwrap();
    run_in(dir.path(), start(), config).unwrap()
}

pub type Values = BTreeMap<String, Vec<f32>>;

pub fn values(model: &GptOss) -> Values {
    let arrays = parameters(model).into_iter();
    arrays.map(|(name, array)| (name, array.values)).collect()
}
