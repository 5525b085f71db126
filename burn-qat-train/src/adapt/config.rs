use burn::tensor::Device;
use burn_gpt_oss::{AdapterSettings, GptOssConfig};
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use super::insert::chosen;
use crate::error::QatError;

/// Which weights get a low-rank adapter, and how large it is (LoRA, Hu et al. 2021).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank of every matrix; of expert matrices that of each expert.
    pub rank: usize,
    /// The delta is scaled with `alpha / rank`.
    pub alpha: f64,
    /// Scales with `alpha / sqrt(rank)` instead (rsLoRA, Kalajdzievski 2023).
    pub use_rslora: bool,
    /// Share of the inputs of attention and router that the factors do not see while they train; zero where layers are
    /// recomputed.
    pub dropout: f64,
    /// Globs on module paths such as `layers.0.self_attn.q_proj.weight`; `*` also matches dots. Every one must
    /// match a weight.
    pub targets: Vec<String>,
    /// Layers whose weights get adapters; none for all. The embedding and the head belong to no layer.
    pub layers: Option<Vec<usize>>,
    /// Seed of the first factors.
    pub seed: u64,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 16.0,
            use_rslora: false,
            dropout: 0.0,
            targets: ["*.self_attn.?_proj.weight", "*.mlp.experts.*_proj"]
                .map(String::from)
                .to_vec(),
            layers: None,
            seed: 42,
        }
    }
}

impl LoraConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`QatError::Setting`] for the first value out of range.
    pub fn check(&self, n_layers: usize) -> Result<(), QatError> {
        let refuse = |key, expected: &str, found: String| {
            Err(QatError::Setting {
                key,
                expected: expected.into(),
                found,
            })
        };
        if self.rank == 0 {
            return refuse("rank", "1 or more", "0".into());
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return refuse("alpha", "a positive number", self.alpha.to_string());
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("dropout", "from 0 to below 1", self.dropout.to_string());
        }
        if self.targets.is_empty() {
            return refuse("targets", "a glob at least", "empty".into());
        }
        let layers = self.layers.iter().flatten();
        match layers.clone().find(|layer| **layer >= n_layers) {
            Some(layer) => refuse(
                "layers",
                &format!("layers from 0 to {}", n_layers.saturating_sub(1)),
                layer.to_string(),
            ),
            None if self.layers.as_ref().is_some_and(Vec::is_empty) => refuse(
                "layers",
                "a layer at least, or none for all",
                "empty".into(),
            ),
            None => Ok(()),
        }
    }

    /// Numbers that train with these adapters in a model of this architecture.
    ///
    /// # Errors
    /// Those of [`insert_adapters`](crate::insert_adapters).
    pub fn trainable(&self, config: &GptOssConfig) -> Result<u64, QatError> {
        // Created lazily: nothing is allocated.
        let model = config.init(&Device::default());
        let factors = |(_, [experts, d_input, d_output]): (String, [usize; 3])| {
            (experts * self.rank * (d_input + d_output)) as u64
        };
        Ok(chosen(&model, self)?.into_iter().map(factors).sum())
    }

    /// How many of embedding and head have an adapter.
    pub(crate) fn whole_tables(&self, config: &GptOssConfig) -> Result<u64, QatError> {
        let model = config.init(&Device::default());
        let chosen = chosen(&model, self)?;
        let tables = ["embed_tokens.weight", "lm_head.weight"];
        Ok(chosen
            .iter()
            .filter(|(path, _)| tables.contains(&path.as_str()))
            .count() as u64)
    }

    /// Whether all expert matrices have an adapter.
    ///
    /// # Errors
    /// Those of [`insert_adapters`](crate::insert_adapters).
    pub fn adapts_all_experts(&self, config: &GptOssConfig) -> Result<bool, QatError> {
        let model = config.init(&Device::default());
        let chosen = chosen(&model, self)?;
        let mut experts = model.expert_weights();
        Ok(experts.all(|(path, _)| chosen.iter().any(|(adapted, _)| *adapted == path)))
    }

    /// What the files of the adapter say of it.
    pub fn settings(&self, base_model: &str) -> AdapterSettings {
        AdapterSettings {
            rank: self.rank,
            alpha: self.alpha,
            use_rslora: self.use_rslora,
            dropout: self.dropout,
            base_model: base_model.into(),
            rounding: None,
        }
    }

    pub(super) fn compile(&self) -> Result<GlobSet, QatError> {
        let refuse = |error: globset::Error| QatError::Setting {
            key: "targets",
            expected: "globs on module paths".into(),
            found: error.to_string(),
        };
        let mut globs = GlobSetBuilder::new();
        for target in &self.targets {
            globs.add(Glob::new(target).map_err(refuse)?);
        }
        globs.build().map_err(refuse)
    }
}
