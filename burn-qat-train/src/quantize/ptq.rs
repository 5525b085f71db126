use burn_fp4::{Fp4Scheme, Nvfp4ScaleRule, ScaleRule};
use serde::{Deserialize, Serialize};

use super::{QuantPolicy, QuantRule};

/// How weights are rounded without training (PTQ).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PtqMethod {
    /// To the nearest code, with the block scales of the policy: what QAT starts from.
    Nearest,
    /// To the nearest code, with the block scales of least squared error.
    Mse,
    /// By [`gptq`](fn@super::gptq), with the block scales of least squared error.
    Gptq,
}

impl PtqMethod {
    /// All, in the order of their cost.
    pub const ALL: [Self; 3] = [Self::Nearest, Self::Mse, Self::Gptq];

    /// The policy that it rounds by, of the one that a stage has.
    pub fn policy(self, policy: &QuantPolicy) -> QuantPolicy {
        let scheme = |scheme: Fp4Scheme| match (self, scheme) {
            (Self::Nearest, scheme) => scheme,
            (
                _,
                Fp4Scheme::Nvfp4 {
                    block_size,
                    global_scope,
                    ..
                },
            ) => Fp4Scheme::Nvfp4 {
                scale_rule: Nvfp4ScaleRule::Mse,
                block_size,
                global_scope,
            },
            (_, _) => Fp4Scheme::mxfp4_with(ScaleRule::Mse),
        };
        let rules = policy.rules.iter().map(|rule| QuantRule {
            pattern: rule.pattern.clone(),
            scheme: rule.scheme.map(scheme),
        });
        QuantPolicy {
            name: policy.name.clone(),
            rules: rules.collect(),
            inputs: policy.inputs,
        }
    }

    /// What a directory and a row of a table are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "ptq",
            Self::Mse => "ptq_mse",
            Self::Gptq => "gptq",
        }
    }

    /// What a table calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Nearest => "PTQ",
            Self::Mse => "PTQ by MSE",
            Self::Gptq => "GPTQ",
        }
    }
}
