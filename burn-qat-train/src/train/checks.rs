//! What must hold before a stage begins.

use burn::module::Param;
use burn::tensor::{DType, Tensor};
use burn_fp4::LowRankAdapter;
use burn_gpt_oss::GptOss;

use super::TrainConfig;
use crate::data::TokenizedExample;
use crate::error::QatError;

/// Fails for settings out of range, a model of other element types, and data that has nothing to learn.
pub(super) fn check(
    model: &GptOss,
    (train, valid): (&[TokenizedExample], &[TokenizedExample]),
    config: &TrainConfig,
) -> Result<(), QatError> {
    config.check()?;
    check_master_weights(model, config)?;
    check_examples("training data", train)?;
    check_examples("validation data", valid)
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
