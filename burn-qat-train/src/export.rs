//! Export of quantized models as MXFP4 and NVFP4 checkpoint directories, verified bit for bit.

use std::collections::BTreeSet;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Reparameterization};
use burn::tensor::{DType, FloatDType};
use burn_fp4::Operand;
use burn_gpt_oss::{
    CheckpointForm, CheckpointProgress, CheckpointReader, CheckpointWriter, ExpertWeight, GptOss,
    GptOssError, SaveReport, TensorLayout, TensorSpec, tensor_specs,
};

use crate::error::QatError;
use crate::quantize::WeightQuantizer;

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportReport {
    /// The files.
    pub saved: SaveReport,
    /// Weights compared bit for bit with the fake-quantized ones after reading the export back.
    pub verified_weights: u64,
}

/// Writes a model with quantizers or packed experts (from PTQ or QAT) as a checkpoint in the form of their scheme: MXFP4
/// as the published checkpoints have it, or NVFP4 as ModelOpt writes it. Then reads it back and compares every
/// quantized weight, bit for bit, with the value that its quantizer gives. Codes and scales are those of the forward
/// pass of these weights; matrices that equal the source's are copied from it byte for byte.
///
/// # Errors
/// A quantizer on a weight that is not an expert matrix, which these formats cannot hold; an expert matrix
/// that has no quantizer and is not packed; matrices in several formats, or in one that no checkpoint holds;
/// [`QatError::ExportMismatch`]; errors of the file system. The directory appears under its name only after the
/// comparison, so an export that differs leaves nothing behind and replaces nothing.
pub fn export_fp4(
    model: &GptOss,
    dir: &Path,
    source: &CheckpointReader,
    overwrite: bool,
    progress: impl FnMut(CheckpointProgress<'_>),
) -> Result<ExportReport, QatError> {
    let specs = tensor_specs(model.config());
    check_quantizers(model, &specs)?;
    let form = packed_form(model)?;
    let mut verified_weights = 0;
    let saved = CheckpointWriter::new(form)
        .with_source(source)
        .with_overwrite(overwrite)
        .save_checked(model, dir, progress, |written| {
            verified_weights = verify(model, written, &specs)?;
            Ok::<_, QatError>(())
        })?;
    Ok(ExportReport {
        saved,
        verified_weights,
    })
}

/// The form that holds what the first matrix is rounded to; the writer refuses others.
fn packed_form(model: &GptOss) -> Result<CheckpointForm, QatError> {
    let mut weights = model.expert_weights();
    let scheme = weights.find_map(|(_, weight)| match (weight.adapter(), weight.dense()) {
        (Some(adapter), _) => adapter.scheme(),
        (None, Some(param)) => param
            .reparameterization::<WeightQuantizer>()
            .map(WeightQuantizer::scheme),
        (None, None) => weight.scheme(),
    });
    let rounds_inputs = model.activation_quantizers().next().is_some();
    let form = scheme.map(|scheme| {
        let form = CheckpointForm::of_scheme(scheme);
        let with_inputs = form.and_then(CheckpointForm::with_input_scales);
        (scheme, if rounds_inputs { with_inputs } else { form })
    });
    match form {
        Some((_, Some(form))) => Ok(form),
        Some((scheme, None)) => Err(QatError::Policy {
            policy: POLICY.into(),
            message: match rounds_inputs {
                true => format!("no checkpoint form holds {scheme} with rounded inputs"),
                false => format!("no checkpoint form holds {scheme}"),
            },
        }),
        None => Ok(CheckpointForm::Mxfp4),
    }
}

/// What an error calls the demands of the formats.
const POLICY: &str = "FP4 export";

/// The formats quantize every expert matrix and nothing else.
fn check_quantizers(model: &GptOss, specs: &[TensorSpec]) -> Result<(), QatError> {
    let mut found = Quantized::default();
    model.visit(&mut found);
    let packed = model
        .expert_weights()
        .filter(|(_, weight)| match weight.adapter() {
            Some(adapter) => adapter.scheme().is_some(),
            None => weight.packed().is_some(),
        });
    found.paths.extend(packed.map(|(path, _)| path));
    let experts: BTreeSet<_> = specs
        .iter()
        .filter(|spec| spec.layout == TensorLayout::Experts)
        .map(|spec| spec.path.clone())
        .collect();
    let refuse = |path: &str, what: &str| QatError::Policy {
        policy: POLICY.into(),
        message: format!(
            "`{path}` {what}; the format holds all expert matrices in FP4 and nothing else"
        ),
    };
    if let Some(path) = found.paths.difference(&experts).next() {
        return Err(refuse(path, "has a quantizer"));
    }
    match experts.difference(&found.paths).next() {
        Some(path) => Err(refuse(path, "has no quantizer")),
        None => Ok(()),
    }
}

/// Paths of the parameters with a quantizer.
#[derive(Default)]
struct Quantized {
    path: Vec<String>,
    paths: BTreeSet<String>,
}

impl ModuleVisitor for Quantized {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        if name == WeightQuantizer::NAME {
            self.paths.insert(self.path.join("."));
        }
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }
}

/// Compares one matrix at a time and returns the number of weights.
fn verify(model: &GptOss, dir: &Path, specs: &[TensorSpec]) -> Result<u64, QatError> {
    let reader = CheckpointReader::open(dir)?;
    let mut verified = 0;
    for (path, weight) in model.expert_weights() {
        let Some(spec) = specs.iter().find(|spec| spec.path == path) else {
            continue;
        };
        if has_codes_of(weight, &reader, spec)? {
            verified += spec.len() as u64;
            continue;
        }
        let expected = effective(weight, &path)?;
        let found = reader.values(spec)?;
        let differs = |(a, b): (&f32, &f32)| a.to_bits() != b.to_bits();
        if let Some(index) = expected.iter().zip(&found).position(differs) {
            return Err(QatError::ExportMismatch {
                path: dir.to_path_buf(),
                tensor: spec.name.clone(),
                index,
                expected: expected[index],
                found: found[index],
            });
        }
        verified += expected.len() as u64;
    }
    Ok(verified)
}

/// Whether a matrix in codes has those of the file, byte for byte. Of a matrix in floats nothing is known yet.
fn has_codes_of(
    weight: &ExpertWeight,
    reader: &CheckpointReader,
    spec: &TensorSpec,
) -> Result<bool, QatError> {
    let Some(codes) = weight.codes() else {
        return Ok(false);
    };
    let codes = codes.to_packed().map_err(|source| GptOssError::Fp4 {
        tensor: spec.name.clone(),
        source: Box::new(source),
    })?;
    let found = reader.packed(spec)?;
    Ok(codes.has_bytes_of(&found))
}

/// The values that multiply. Those of a matrix in 16 bits are its codes', which 16 bits need not hold.
fn effective(weight: &ExpertWeight, path: &str) -> Result<Vec<f32>, QatError> {
    let is_narrow = weight
        .dense()
        .is_some_and(|param| param.base().dtype() != DType::F32);
    let values = match weight.rounded_matrices() {
        Operand::Rounded(rounded) if is_narrow => rounded.codes().dequantize(1, FloatDType::F32),
        _ => weight.val(),
    };
    values
        .try_into_vec_as::<f32>()
        .map_err(|error| QatError::Training {
            stage: "export".into(),
            message: format!("`{path}` cannot be read from its device: {error}"),
        })
}
