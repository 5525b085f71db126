//! How quantized weights stand while they are trained.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use burn_fp4::{PackedFp4, codes_changed};
use serde::{Deserialize, Serialize};

use super::run_log::RunLog;
use super::{TrainConfig, Trainable};

/// A quantized weight after some optimizer steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantizationPoint {
    /// Optimizer steps done; 0 before the first.
    pub step: usize,
    /// Module path of the weight.
    pub weight: String,
    /// Signal-to-quantization-noise ratio in decibels; none if rounding changes nothing.
    pub sqnr_db: Option<f64>,
    /// Share of the weights beyond the largest magnitude of their block.
    pub saturated: f64,
    /// Share of the weights that became zero.
    pub zeroed: f64,
    /// Share of the codes that are others than before the first step.
    pub codes_changed: f64,
}

/// Measures the weights with a quantizer before the first step and whenever they are evaluated.
pub(super) struct QuantizationLog {
    log: RunLog,
    every: usize,
    steps: usize,
    /// The weights as they began, by module path.
    first: BTreeMap<String, PackedFp4>,
}

impl fmt::Debug for QuantizationLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuantizationLog").finish_non_exhaustive()
    }
}

impl QuantizationLog {
    /// A log of a model as it begins; none for one without quantizers, or where it is not asked for. `is_new` unless the
    /// run goes on.
    pub fn new<M: Trainable>(
        model: &M,
        config: &TrainConfig,
        log: &RunLog,
        is_new: bool,
    ) -> Option<Arc<Self>> {
        if !config.quantization_metrics {
            return None;
        }
        let first: BTreeMap<String, PackedFp4> = model
            .packed_weights()
            .map(|(path, packed, _)| (path, packed))
            .collect();
        if first.is_empty() {
            return None;
        }
        let new = Self {
            log: log.clone(),
            every: config.eval_steps,
            steps: config.steps,
            first,
        };
        if is_new {
            new.write(model, 0);
        }
        Some(Arc::new(new))
    }

    /// Hears that an update is done.
    pub fn updated<M: Trainable>(&self, model: &M, step: usize) {
        if step.is_multiple_of(self.every) || step == self.steps {
            self.write(model, step);
        }
    }

    fn write<M: Trainable>(&self, model: &M, step: usize) {
        for (path, packed, stats) in model.packed_weights() {
            let Some(first) = self.first.get(&path) else {
                continue;
            };
            let Ok(changes) = codes_changed(first, &packed) else {
                continue;
            };
            self.log.quantized(QuantizationPoint {
                step,
                weight: path,
                sqnr_db: Some(stats.sqnr_db()).filter(|db| db.is_finite()),
                saturated: stats.saturated_fraction(),
                zeroed: stats.zero_fraction(),
                codes_changed: changes.codes as f64 / changes.n_elements.max(1) as f64,
            });
        }
    }
}
