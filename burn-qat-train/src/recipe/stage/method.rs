use serde::{Deserialize, Serialize};

/// How a stage trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Fine-tuning of the weights as they are.
    Sft,
    /// Fine-tuning on rounded weights.
    Qat,
    /// Distillation of rounded weights: they learn what a frozen teacher gives.
    Qad,
}

impl Method {
    /// Whether weights are rounded while they are trained.
    pub fn is_rounded(self) -> bool {
        self != Self::Sft
    }
}
