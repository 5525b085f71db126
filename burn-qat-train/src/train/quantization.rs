//! How quantized weights stand while they are trained.

use std::fmt;
use std::sync::Arc;

use burn::tensor::DType;
use burn_fp4::{GlobalAmax, PackedFp4, QuantStats, SliceQuantizer, codes_changed};
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
    /// The weights as they began, in the order of the module.
    first: Vec<PackedFp4>,
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
        let weights = Weights::of(model);
        if weights.0.is_empty() {
            return None;
        }
        let new = Self {
            log: log.clone(),
            every: config.eval_steps,
            steps: config.steps,
            first: weights.packed(),
        };
        if is_new {
            new.write(&weights, 0);
        }
        Some(Arc::new(new))
    }

    /// Hears that an update is done.
    pub fn updated(&self, model: &GptOss, step: usize) {
        if step.is_multiple_of(self.every) || step == self.steps {
            self.write(&Weights::of(model), step);
        }
    }

    fn write(&self, weights: &Weights, step: usize) {
        for (weight, first) in weights.0.iter().zip(&self.first) {
            let Ok(changes) = codes_changed(first, &weight.packed) else {
                continue;
            };
            self.log.quantized(QuantizationPoint {
                step,
                weight: weight.path.clone(),
                sqnr_db: Some(weight.stats.sqnr_db()).filter(|db| db.is_finite()),
                saturated: weight.stats.saturated_fraction(),
                zeroed: weight.stats.zero_fraction(),
                codes_changed: changes.codes as f64 / changes.n_elements.max(1) as f64,
            });
        }
    }
}

struct Weight {
    path: String,
    packed: PackedFp4,
    stats: QuantStats,
}

/// The expert matrices with a quantizer. One that cannot be read or rounded is left out: training itself tells why.
struct Weights(Vec<Weight>);

impl Weights {
    fn of(model: &GptOss) -> Self {
        let weights = model.expert_weights();
        Self(
            weights
                .filter_map(|(path, weight)| measured(path, weight))
                .collect(),
        )
    }

    fn packed(&self) -> Vec<PackedFp4> {
        self.0.iter().map(|weight| weight.packed.clone()).collect()
    }
}

fn measured(path: String, weight: &ExpertWeight) -> Option<Weight> {
    let param = weight.dense()?;
    let quantizer = param.reparameterization::<WeightQuantizer>()?;
    let slices = SliceQuantizer::new(quantizer.scheme());
    let slices = match quantizer.global_amax() {
        Some(amax) => slices.with_global_amax(GlobalAmax::Frozen(amax.try_into_vec_as().ok()?)),
        None => slices,
    };
    let shape = weight.shape();
    let values = param
        .base()
        .cast(DType::F32)
        .try_into_vec_as::<f32>()
        .ok()?;
    Some(Weight {
        path,
        packed: slices.quantize(&values, &shape, 1).ok()?,
        stats: slices.stats(&values, &shape, 1).ok()?,
    })
}
