use std::ops::ControlFlow;

use burn::module::Module;
use burn_fp4::{ActivationFormat, Calibration};
use burn_gpt_oss::GptOss;

use super::gptq::ids;
use crate::data::TokenizedExample;
use crate::error::QatError;

/// Puts quantizers on the inputs of the experts, whose global scales are those of the largest magnitudes that the
/// model sees in the calibration data, and quantizes with them from now on: with NVFP4 weights this is W4A4. The model
/// computes unrounded while it is observed, as in ModelOpt; weights get their quantizers after this.
///
/// The scales are what a checkpoint holds, so that a model that is loaded again computes the same.
///
/// `observe` is called after every example with the number of those that are done; [`ControlFlow::Break`] ends without
/// a result.
///
/// # Errors
/// No calibration data, widths that are no whole blocks, a device that cannot be read, and inputs that no example
/// reaches or that are zero.
pub fn calibrate_activations(
    model: GptOss,
    format: ActivationFormat,
    calibration: &[TokenizedExample],
    mut observe: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<GptOss>, QatError> {
    if calibration.is_empty() {
        return Err(QatError::Setting {
            key: "calibration data",
            expected: format!("examples, to round inputs to {format:?}"),
            found: "none".into(),
        });
    }
    let model = model
        .with_activation_quantizers(format, Calibration::Max)?
        .calibrate_activations();
    // Clones observe together.
    let observed = model.valid();
    let device = observed.embed_tokens.weight.device();
    for (done, example) in calibration.iter().enumerate() {
        observed.hidden_states(ids(example, &device), None, |_| {});
        if observe(done + 1).is_break() {
            return Ok(None);
        }
    }
    let model = model.enable_activations()?;
    let scales = model.input_scales()?;
    match scales.is_empty() {
        // MXFP4 has no global scale.
        true => Ok(Some(model)),
        false => Ok(Some(model.with_input_scales(&scales)?)),
    }
}
