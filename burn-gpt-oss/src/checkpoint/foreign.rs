//! Layouts of other programs that are not read, recognized by their tensors.

use std::path::Path;

use safetensors::Dtype;

use super::files::Files;
use crate::error::GptOssError;

/// Refuses tensors that another program wrote, and says what to do with them.
pub(super) fn refuse(dir: &Path, (files, locations): &Files) -> Result<(), GptOssError> {
    for (name, file) in locations {
        let dtype = files[*file].metadata.info(name).map(|info| info.dtype);
        if let Some((layout, hint)) = layout_of(name, dtype) {
            return Err(GptOssError::ForeignLayout {
                path: dir.to_path_buf(),
                layout,
                tensor: name.clone(),
                hint,
            });
        }
    }
    Ok(())
}

fn layout_of(name: &str, dtype: Option<Dtype>) -> Option<(&'static str, &'static str)> {
    if name.contains(".lora_A.") || name.contains(".lora_B.") || name.contains(".base_layer.") {
        return Some((
            "a LoRA adapter",
            "merge it into its base model first (`convert --adapter`, or `merge_and_unload` of PEFT)",
        ));
    }
    if name.contains(".quant_state.") || name.ends_with(".absmax") {
        return Some((
            "weights in the 4-bit format of bitsandbytes",
            "save the model merged in 16 bits, and use that directory",
        ));
    }
    let fp8 = matches!(dtype, Some(Dtype::F8_E4M3 | Dtype::F8_E5M2));
    if name.ends_with(".weight_scale_inv") || (fp8 && name.ends_with(".weight")) {
        return Some((
            "weights in FP8 with scales of their own",
            "decode them to BF16 with the program that wrote them; of 8-bit floats, only the block scales of NVFP4 \
             are read",
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_who_wrote_them() {
        let lora = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
        let bnb = "model.layers.0.mlp.experts.gate_up_projs.3.weight.absmax";
        let fp8 = "model.layers.0.self_attn.q_proj.weight";
        for (name, dtype, part) in [
            (lora, Dtype::BF16, "LoRA"),
            (bnb, Dtype::U8, "bitsandbytes"),
            (fp8, Dtype::F8_E4M3, "FP8"),
            (&format!("{fp8}_scale_inv"), Dtype::F32, "FP8"),
        ] {
            let (layout, _) = layout_of(name, Some(dtype)).expect(name);
            assert!(layout.contains(part), "{layout}");
        }
        let ours = "model.layers.0.mlp.experts.gate_up_proj_weight_scale";
        assert_eq!(layout_of(ours, Some(Dtype::F8_E4M3)), None);
        assert_eq!(layout_of(fp8, Some(Dtype::BF16)), None);
    }
}
