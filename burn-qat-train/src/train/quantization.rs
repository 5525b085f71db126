//! How quantized weights stand while they are trained.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use burn::tensor::DType;
use burn_fp4::{PackedFp4, QuantStats, codes_changed};
use burn_gpt_oss::{ExpertWeight, GptOss};
use serde::{Deserialize, Serialize};

use super::TrainConfig;
use super::run_log::RunLog;
use crate::quantize::WeightQuantizer;

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
    pub fn new(
        model: &GptOss,
        config: &TrainConfig,
        log: &RunLog,
        is_new: bool,
    ) -> Option<Arc<Self>> {
        if !config.quantization_metrics {
            return None;
        }
        let first: BTreeMap<String, PackedFp4> = model
            .expert_weights()
            .filter_map(|(path, weight)| Some((path, packed(weight)?.0)))
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
    pub fn updated(&self, model: &GptOss, step: usize) {
        if step.is_multiple_of(self.every) || step == self.steps {
            self.write(model, step);
        }
    }

    /// One matrix after the other, so that one is packed at a time.
    fn write(&self, model: &GptOss, step: usize) {
        for (path, weight) in model.expert_weights() {
            let Some(first) = self.first.get(&path) else {
                continue;
            };
            let Some((packed, stats)) = packed(weight) else {
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

/// A matrix with a quantizer as that packs it, and what this costs. One that cannot be read or rounded is left out:
/// training itself tells why.
fn packed(weight: &ExpertWeight) -> Option<(PackedFp4, QuantStats)> {
    let param = weight.dense()?;
    let quantizer = param.reparameterization::<WeightQuantizer>()?;
    let slices = quantizer.to_slices().ok()?;
    let shape = weight.shape();
    let values = param
        .base()
        .cast(DType::F32)
        .try_into_vec_as::<f32>()
        .ok()?;
    let packed = slices.quantize(&values, &shape, 1).ok()?;
    Some((packed, slices.stats(&values, &shape, 1).ok()?))
}
