//! Low-rank adapters of the model, and the files that PEFT keeps them in.
//!
//! The contract is that of PEFT 0.21 (`peft/tuners/lora/layer.py`, class `ParamWrapper`): matrices of linear layers
//! have factors of two axes, those of all experts share two tensors whose rank axis is that of all experts.

mod attach;
mod config_file;
mod factors;
mod names;
mod read;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use factors::Factors;
pub use write::AdapterDialect;

/// Factors of a model's adapters, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterCheckpoint {
    /// What the files say besides the factors.
    pub settings: AdapterSettings,
    /// By module path, as `layers.0.mlp.experts.gate_up_proj` or `layers.0.self_attn.q_proj.weight`.
    pub factors: BTreeMap<String, Factors>,
}

/// What `adapter_config.json` says of all adapters of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterSettings {
    /// Rank of every matrix, of every expert.
    pub rank: usize,
    /// What the delta is scaled with, times the rank.
    pub alpha: f64,
    /// Whether the scaling is `alpha / sqrt(rank)` (Kalajdzievski 2023) in place of `alpha / rank`.
    pub use_rslora: bool,
    /// Share of inputs of dense layers that the factors do not see while they train.
    pub dropout: f64,
    /// The model that the adapter belongs to, as a name or directory.
    pub base_model: String,
    /// What the sums of expert matrices and deltas were rounded to while they trained.
    pub rounding: Option<AdapterRounding>,
}

/// The rounding that an adapter was trained with: merged by another rule, the codes differ from those that
/// were trained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterRounding {
    /// The scheme with its scale rule, as [`Fp4Scheme`](burn_fp4::Fp4Scheme) prints it.
    pub scheme: String,
    /// Optimizer steps before the first with rounding.
    pub start_step: usize,
}

impl AdapterSettings {
    /// What the product of the factors is multiplied with.
    pub fn scaling(&self) -> f32 {
        let rank = self.rank as f64;
        let divisor = if self.use_rslora { rank.sqrt() } else { rank };
        (self.alpha / divisor) as f32
    }
}
