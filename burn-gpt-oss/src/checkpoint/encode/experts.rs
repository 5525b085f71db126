//! Expert matrices by what is written of them.

use std::collections::BTreeMap;

use burn_fp4::{Fp4Scheme, Fp4Tensor, WeightQuantizer};

use crate::checkpoint::CheckpointForm;
use crate::error::GptOssError;
use crate::experts::ExpertWeight;
use crate::model::GptOss;

/// The matrices with adapters, if the form has a place for what they were rounded to.
pub(super) fn adapted_experts(
    model: &GptOss,
    form: CheckpointForm,
) -> Result<BTreeMap<String, &ExpertWeight>, GptOssError> {
    let mut found = BTreeMap::new();
    for (path, weight) in model.expert_weights() {
        if let Some(adapter) = weight.adapter() {
            if let Some(scheme) = adapter.scheme() {
                check_scheme(&path, scheme, form)?;
            }
            found.insert(path, weight);
        }
    }
    Ok(found)
}

/// The packed experts by path, if the form has a place for them.
pub(super) fn packed_experts(
    model: &GptOss,
    form: CheckpointForm,
) -> Result<BTreeMap<String, &Fp4Tensor<3>>, GptOssError> {
    let mut found = BTreeMap::new();
    for (path, weight) in model.expert_weights() {
        if let Some(packed) = weight.packed().filter(|_| weight.adapter().is_none()) {
            check_scheme(&path, packed.scheme(), form)?;
            found.insert(path, packed);
        }
    }
    Ok(found)
}

/// What the matrices were trained to be rounded by: that is what packs them.
pub(super) fn quantizers(
    model: &GptOss,
    form: CheckpointForm,
) -> Result<BTreeMap<String, WeightQuantizer>, GptOssError> {
    let mut found = BTreeMap::new();
    for (path, weight) in model.expert_weights() {
        let param = weight.dense();
        let quantizer = param.and_then(|param| param.reparameterization::<WeightQuantizer>());
        if let Some(quantizer) = quantizer {
            check_scheme(&path, quantizer.scheme(), form)?;
            found.insert(path, quantizer.clone());
        }
    }
    Ok(found)
}

/// Fails if a matrix in this scheme has no place in the form.
fn check_scheme(path: &str, scheme: Fp4Scheme, form: CheckpointForm) -> Result<(), GptOssError> {
    if form.holds(scheme) {
        return Ok(());
    }
    Err(GptOssError::Unsupported {
        what: format!("`{path}` in {scheme} in a {form} checkpoint"),
        hint: "save it as BF16, or in the form of its scheme: MXFP4, or NVFP4 in blocks of 16 with one global scale \
               for each matrix"
            .into(),
    })
}
