//! Ways to train a model, by the memory they take.

use std::fmt;

use burn_gpt_oss::GptOssConfig;

use super::{MemoryEstimate, gigabytes};
use crate::adapt::LoraConfig;
use crate::error::QatError;
use crate::train::{LayerWise, Masters, TrainConfig};

/// A way to train a model.
#[derive(Clone, Debug)]
pub struct TrainingWay {
    /// The settings of a recipe that ask for it.
    pub settings: &'static str,
    /// What it costs beside training as a whole.
    pub cost: &'static str,
    /// What it takes.
    pub estimate: MemoryEstimate,
}

/// The ways to train a model, the fastest first.
#[derive(Clone, Debug)]
pub struct MemoryPlan {
    /// The ways.
    pub ways: Vec<TrainingWay>,
    /// The memory at hand, in bytes; none if it is not known.
    pub available: Option<u64>,
}

/// `(settings, cost, recomputes layers, layer-wise)`
type Way = (&'static str, &'static str, bool, Option<LayerWise>);

impl MemoryPlan {
    /// The ways to train with settings that are the same otherwise. Nothing but the stage itself is counted: no weights
    /// kept for a control run, no codes kept for metrics.
    ///
    /// # Errors
    /// Those of [`MemoryEstimate::adapters`].
    pub fn new(
        config: &GptOssConfig,
        lora: &LoraConfig,
        train: &TrainConfig,
        max_length: usize,
        available: Option<u64>,
    ) -> Result<Self, QatError> {
        let layer_wise = |masters, offload| LayerWise {
            masters,
            offload,
            ..train.layer_wise.unwrap_or_default()
        };
        let ways: [Way; 5] = [
            ("none", "-", false, None),
            ("recompute_layers: true", "a third more time", true, None),
            (
                "layer_wise: true, masters: f32",
                "layers are recomputed; exact clipping takes a second backward pass",
                true,
                Some(layer_wise(Masters::F32, false)),
            ),
            (
                "layer_wise: true",
                "the same; the model computes with bfloat16 weights",
                true,
                Some(layer_wise(Masters::Split24, false)),
            ),
            (
                "layer_wise: true, offload: true",
                "the same, and all moments are read and written in every step",
                true,
                Some(layer_wise(Masters::Split24, true)),
            ),
        ];
        let mut ways: Vec<TrainingWay> = ways
            .into_iter()
            .map(|(settings, cost, recompute_layers, layer_wise)| {
                let train = TrainConfig {
                    recompute_layers,
                    layer_wise,
                    quantization_metrics: false,
                    ..train.clone()
                };
                let estimate = MemoryEstimate::full_parameter(config, &train, max_length);
                TrainingWay {
                    settings,
                    cost,
                    estimate: MemoryEstimate {
                        control: 0,
                        ..estimate
                    },
                }
            })
            .collect();
        let of_adapters = TrainConfig {
            recompute_layers: true,
            layer_wise: None,
            ..train.clone()
        };
        ways.push(TrainingWay {
            settings: "lora: {}, recompute_layers: true",
            cost: "adapters alone train; the packed base stays in its file",
            estimate: MemoryEstimate::adapters(config, lora, &of_adapters, max_length, true)?,
        });
        Ok(Self { ways, available })
    }

    /// The first way that fits into the memory at hand.
    pub fn first_that_fits(&self) -> Option<&TrainingWay> {
        let available = self.available?;
        let mut ways = self.ways.iter();
        ways.find(|way| way.estimate.total() <= available)
    }
}

/// A table in Markdown.
impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| settings | memory | fits | what it costs |")?;
        write!(f, "|---|--:|---|---|")?;
        for way in &self.ways {
            let total = way.estimate.total();
            let fits = match self.available {
                Some(available) if total <= available => "yes",
                Some(_) => "no",
                None => "-",
            };
            let (settings, cost) = (way.settings, way.cost);
            write!(
                f,
                "\n| {settings} | {} | {fits} | {cost} |",
                gigabytes(total)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(available: u64) -> MemoryPlan {
        let config = GptOssConfig::gpt_oss_20b();
        let train = TrainConfig {
            batch_size: 1,
            micro_batch_size: 1,
            ..TrainConfig::default()
        };
        let lora = LoraConfig::default();
        MemoryPlan::new(&config, &lora, &train, 4096, Some(available)).expect("a rank")
    }

    #[test]
    fn every_way_takes_less_than_the_one_before() {
        let plan = plan(0);
        let totals: Vec<u64> = plan.ways.iter().map(|way| way.estimate.total()).collect();
        assert!(totals.is_sorted_by(|a, b| a > b), "{totals:?}");
        assert!(plan.first_that_fits().is_none());
    }

    /// 20.9 billion parameters of 5.19 bytes, and the gradient of a matrix, 2.3 GB.
    #[test]
    fn the_20b_trains_on_one_device_of_141_gb() {
        let first = |free: u64| plan(free).first_that_fits().cloned().expect("it fits");
        assert_eq!(
            first(141_000_000_000).settings,
            "layer_wise: true, masters: f32"
        );
        let way = first(120_000_000_000);
        assert_eq!(way.settings, "layer_wise: true");
        let state = way.estimate.weights + way.estimate.optimizer;
        assert!((108.4..108.8).contains(&(state as f64 / 1e9)), "{state}");
        assert!(way.estimate.total() < 115_000_000_000, "{}", way.estimate);
    }
}
