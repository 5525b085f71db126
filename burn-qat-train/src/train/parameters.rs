//! Which parameters are trained, and how fast.

use std::collections::HashMap;

use burn::module::{Module, ParamGroup};
use burn::optim::ModuleOptimizer;
use burn_gpt_oss::{GptOssConfig, tensor_specs};
use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Serialize};

use super::adamw::FusedAdamW;
use super::layer_wise::Rules;
use super::step::MODEL;
use super::{FineTune, TrainConfig, Trainable};
use crate::adapt::has_factors;
use crate::error::QatError;
use crate::quantize::ParameterPaths;

/// Parameters that train otherwise than the rest. Of several groups that match, the last wins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterGroup {
    /// A glob on module paths, as `*router*`; `*` also matches dots.
    pub pattern: String,
    /// What the learning rate is multiplied with.
    #[serde(default = "one")]
    pub learning_rate_ratio: f64,
    /// The weight decay; none is that of the rest.
    #[serde(default)]
    pub weight_decay: Option<f32>,
}

fn one() -> f64 {
    1.0
}

/// The names of parameters that have no weight decay in the trainer of transformers: biases and norms; and what gpt-oss
/// has besides, sinks.
pub(super) fn without_decay() -> Vec<String> {
    ["*bias", "*norm*", "*sinks"].map(String::from).to_vec()
}

impl TrainConfig {
    /// Whether a parameter trains, by its module path.
    ///
    /// # Errors
    /// [`QatError::Setting`] for a malformed glob.
    pub fn trains(&self, path: &str) -> Result<bool, QatError> {
        let matches = |key, globs: &[String]| -> Result<bool, QatError> {
            let globs = globs.iter().map(|pattern| glob(key, pattern));
            let globs: Vec<GlobMatcher> = globs.collect::<Result<_, _>>()?;
            Ok(globs.iter().any(|glob| glob.is_match(path)))
        };
        let chosen = match &self.trainable {
            Some(globs) => matches("trainable", globs)?,
            None => true,
        };
        Ok(chosen && !matches("frozen", &self.frozen)?)
    }

    /// The number of weights that train of a model without adapters.
    pub fn n_trained(&self, config: &GptOssConfig) -> u64 {
        let specs = tensor_specs(config);
        // Malformed globs are refused by `check`.
        let trained = specs
            .iter()
            .filter(|spec| self.trains(&spec.path).unwrap_or(true));
        trained.map(|spec| spec.len() as u64).sum()
    }

    /// Checks the globs and the numbers of groups.
    pub(super) fn check_parameters(&self) -> Result<(), QatError> {
        self.trains("").map(drop)?;
        for pattern in &self.no_weight_decay {
            glob("no_weight_decay", pattern)?;
        }
        for group in &self.parameter_groups {
            glob("parameter_groups", &group.pattern)?;
            let ratio = group.learning_rate_ratio;
            let decay = group.weight_decay.unwrap_or_default();
            if !(ratio.is_finite() && ratio > 0.0 && decay.is_finite() && decay >= 0.0) {
                return Err(QatError::Setting {
                    key: "parameter_groups",
                    expected: format!(
                        "a positive `learning_rate_ratio` and a `weight_decay` from 0 for `{}`",
                        group.pattern
                    ),
                    found: format!("{ratio} and {decay}"),
                });
            }
        }
        Ok(())
    }
}

/// Block scales that train; decay would draw them to zero.
const LEARNED_SCALES: &str = "*learned_scales";

/// The settings of parameters as sets of them.
pub(super) struct Selection {
    frozen: Vec<String>,
    groups: Vec<(Vec<String>, FusedAdamW)>,
}

impl Selection {
    /// Matches the settings with the parameters of a model.
    ///
    /// # Errors
    /// A pattern that matches none, nothing left to train, and a choice for a model whose adapters train.
    pub fn new<M: Module>(model: &M, config: &TrainConfig) -> Result<Self, QatError> {
        let paths = ParameterPaths::of(model).0;
        let matching = |key, pattern: &str| -> Result<Vec<String>, QatError> {
            let glob = glob(key, pattern)?;
            let found = paths.iter().filter(|path| glob.is_match(path)).cloned();
            Ok(found.collect())
        };
        let given = config
            .trainable
            .iter()
            .flatten()
            .map(|glob| ("trainable", glob));
        let given = given.chain(config.frozen.iter().map(|glob| ("frozen", glob)));
        let of_groups = config.parameter_groups.iter();
        let of_groups = of_groups.map(|group| ("parameter_groups", &group.pattern));
        for (key, pattern) in given.chain(of_groups) {
            if matching(key, pattern)?.is_empty() {
                return Err(refuse(key, "globs that match parameters", pattern));
            }
        }
        let mut frozen = Vec::new();
        for path in &paths {
            if !config.trains(path)? {
                frozen.push(path.clone());
            }
        }
        if frozen.len() == paths.len() {
            return Err(refuse(
                "trainable",
                "globs that leave something to train",
                "nothing",
            ));
        }
        let chooses = config.trainable.is_some() || !config.frozen.is_empty();
        if chooses && has_factors(model) {
            let expected =
                "none where adapters train; `lora.targets` and `lora.layers` choose these";
            return Err(refuse("trainable", expected, "globs"));
        }
        let mut groups = Vec::new();
        if config.weight_decay != 0.0 {
            let scales = LEARNED_SCALES.to_owned();
            for pattern in config.no_weight_decay.iter().chain([&scales]) {
                let optimizer = FusedAdamW::new(config).with_weight_decay(0.0);
                groups.push((matching("no_weight_decay", pattern)?, optimizer));
            }
        }
        for group in &config.parameter_groups {
            let optimizer = FusedAdamW::new(config).with_ratio(group.learning_rate_ratio);
            let optimizer = match group.weight_decay {
                Some(decay) => optimizer.with_weight_decay(decay),
                None => optimizer,
            };
            groups.push((matching("parameter_groups", &group.pattern)?, optimizer));
        }
        Ok(Self { frozen, groups })
    }

    /// The settings of the optimizer by module path.
    pub fn rules(&self, config: &TrainConfig) -> Rules {
        let mut of = HashMap::new();
        for (paths, group) in &self.groups {
            of.extend(paths.iter().map(|path| (path.clone(), group.clone())));
        }
        Rules {
            rest: FusedAdamW::new(config),
            of,
        }
    }

    /// The model with gradients for what trains.
    pub fn freeze<M: Trainable>(&self, model: FineTune<M>) -> FineTune<M> {
        match self.frozen.is_empty() {
            true => model,
            false => model.freeze_group(in_training(&self.frozen)),
        }
    }

    /// The optimizer with the groups.
    pub fn optimizer(&self, optimizer: ModuleOptimizer) -> ModuleOptimizer {
        let groups = self.groups.iter().filter(|(paths, _)| !paths.is_empty());
        groups.fold(optimizer, |optimizer, (paths, group)| {
            optimizer.with_group(in_training(paths), group.clone(), None)
        })
    }
}

/// Parameters by the paths that they have while they are trained.
fn in_training(paths: &[String]) -> ParamGroup {
    let paths = paths.iter().map(|path| format!("{MODEL}.{path}"));
    ParamGroup::from_paths(paths.collect())
}

fn glob(key: &'static str, pattern: &str) -> Result<GlobMatcher, QatError> {
    let glob = Glob::new(pattern).map_err(|error| refuse(key, "globs", &error.to_string()))?;
    Ok(glob.compile_matcher())
}

fn refuse(key: &'static str, expected: &str, found: &str) -> QatError {
    QatError::Setting {
        key,
        expected: expected.into(),
        found: format!("`{found}`"),
    }
}
