//! What a recipe with adapters cannot have.

use super::{Method, Stage};
use crate::adapt::LoraConfig;
use crate::quantize::GradientRule;

/// Fails with the key and what is wrong there.
pub(super) fn check_adapted(
    stages: &[(String, Stage)],
    lora: &LoraConfig,
) -> Result<(), (String, String)> {
    let recomputes = stages.iter().any(|(_, stage)| stage.recompute_layers);
    if recomputes && lora.dropout > 0.0 {
        let message = "`lora.dropout` is above 0, expected 0 where a stage has `recompute_layers`";
        return Err(("lora.dropout".into(), message.into()));
    }
    for (name, stage) in stages {
        if stage.layer_wise {
            let message = format!(
                "`stages.{name}.layer_wise` is true, and adapters are trained, which take few bytes as they are: leave out \
                 one of the two"
            );
            return Err((format!("stages.{name}.layer_wise"), message));
        }
        if stage.trainable.is_some() || !stage.frozen.is_empty() {
            let message = format!(
                "`stages.{name}` has `trainable` or `frozen`, and adapters are trained; `lora.targets` and `lora.layers` \
                 choose these"
            );
            return Err((format!("stages.{name}.frozen"), message));
        }
        if stage.learned_scales || stage.gradient != GradientRule::StraightThrough {
            let message = format!(
                "`stages.{name}` has `learned_scales` or another `gradient`, which go with the training of all parameters \
                 alone; leave them out, or `lora`"
            );
            let key = match stage.learned_scales {
                true => "learned_scales",
                false => "gradient",
            };
            return Err((format!("stages.{name}.{key}"), message));
        }
        let policy = stage.quantize.policy().ok();
        let rounds = stage.method != Method::Sft || !stage.ptq.is_empty();
        if rounds && policy.is_some_and(|policy| policy.inputs.is_some()) {
            let message = format!(
                "`stages.{name}.quantize` rounds inputs, too, which goes with the training of all parameters alone: \
                 choose weights alone, as nvfp4_mlp_weight_only, or leave out `lora`"
            );
            return Err((format!("stages.{name}.quantize"), message));
        }
    }
    Ok(())
}
