//! Layouts of other programs, recognized by their tensor names.

use std::path::Path;

use crate::error::GptOssError;

/// Refuses tensors that another program named, and says what to do with them.
pub(super) fn refuse<'a>(
    dir: &Path,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), GptOssError> {
    for name in names {
        if let Some((layout, hint)) = layout_of(name) {
            return Err(GptOssError::ForeignLayout {
                path: dir.to_path_buf(),
                layout,
                tensor: name.to_owned(),
                hint,
            });
        }
    }
    Ok(())
}

fn layout_of(name: &str) -> Option<(&'static str, &'static str)> {
    if is_of_one_expert(name) {
        return Some((
            "one tensor per expert, as Unsloth, bitsandbytes and llm-compressor write them",
            "save the model merged in 16 bits with transformers, which stacks the experts, and use that \
             directory",
        ));
    }
    if name.starts_with("block.") || matches!(name, "embedding.weight" | "unembedding.weight") {
        return Some((
            "OpenAI's own layout, the one of the folder `original`",
            "the folder above it holds the same weights under the names that this program reads",
        ));
    }
    if name.contains(".lora_A.") || name.contains(".lora_B.") || name.contains(".base_layer.") {
        return Some((
            "a LoRA adapter",
            "merge it into its base model first (`merge_and_unload` of PEFT) and save the result",
        ));
    }
    None
}

/// `experts.5.gate_proj.weight`, `experts.gate_up_projs.5.weight` and the like.
fn is_of_one_expert(name: &str) -> bool {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    name.split_once(".experts.")
        .is_some_and(|(_, behind)| behind.split('.').any(is_number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_who_wrote_them() {
        for (name, part) in [
            (
                "model.layers.0.mlp.experts.3.gate_proj.weight",
                "per expert",
            ),
            (
                "model.layers.0.mlp.experts.gate_up_projs.3.weight",
                "per expert",
            ),
            (
                "model.layers.0.mlp.experts.down_projs.12.weight_packed",
                "per expert",
            ),
            ("block.0.mlp.mlp1_weight.blocks", "original"),
            ("unembedding.weight", "original"),
            (
                "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
                "LoRA",
            ),
        ] {
            let error = refuse(Path::new("dir"), [name].into_iter()).expect_err(name);
            let error = error.to_string();
            assert!(error.contains(part) && error.contains(name), "{error}");
        }
        let ours = [
            "model.layers.0.mlp.experts.gate_up_proj_blocks",
            "lm_head.weight",
        ];
        assert!(refuse(Path::new("dir"), ours.into_iter()).is_ok());
    }
}
