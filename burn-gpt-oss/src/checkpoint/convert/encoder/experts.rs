//! Matrices of experts in the format of the target.

use std::borrow::Cow;
use std::ops::Range;

use burn_fp4::{Fp4Scheme, GlobalAmax, PackedFp4, ScaleRule, SliceQuantizer};
use half::bf16;
use safetensors::Dtype;

use super::rows::chunks;
use super::{Encoder, Packed};
use crate::checkpoint::TensorSpec;
use crate::checkpoint::elements::{Weight, decode, first_non_finite};
use crate::checkpoint::form::Part;
use crate::error::GptOssError;

/// What quantizes a matrix.
enum Rule {
    /// Nothing: it is in the format already.
    Same,
    /// The cast from MXFP4, with a global scale for all experts.
    Cast,
    /// Rounding of NVFP4 to MXFP4.
    Requantize(ScaleRule),
    /// Rounding of dense matrices.
    Round(Fp4Scheme),
}

impl<'a> Encoder<'a> {
    /// Codes and scales of some experts, `[n, out, in]`.
    pub(super) fn packed(
        &mut self,
        index: usize,
        experts: Range<usize>,
    ) -> Result<Packed<'a>, GptOssError> {
        let spec = self.spec(index);
        match self.rule(spec)? {
            Rule::Same => {
                let packed = self.source.packed_of(spec, experts)?;
                self.source.check_scales(spec, packed.scales())?;
                Ok(packed)
            }
            Rule::Cast => self.cast(index, experts),
            Rule::Round(scheme) => {
                let packed = self.rounded(index, experts, scheme)?;
                Ok(packed.map(Cow::Owned))
            }
            Rule::Requantize(scale_rule) => {
                let packed = self.source.packed_of(spec, experts)?;
                let packed = packed.requantize_to_mxfp4(scale_rule);
                let packed = packed.map_err(GptOssError::fp4(&spec.name))?;
                Ok(packed.map(Cow::Owned))
            }
        }
    }

    fn rule(&self, spec: &TensorSpec) -> Result<Rule, GptOssError> {
        let scheme = self.scheme.ok_or_else(|| GptOssError::Unsupported {
            what: format!("packing `{}` for a BF16 checkpoint", spec.name),
            hint: "choose a packed form".into(),
        })?;
        let source = self.source.form_of(spec).scheme();
        Ok(match (source, scheme) {
            (Some(Fp4Scheme::Mxfp4 { .. }), Fp4Scheme::Mxfp4 { .. }) => Rule::Same,
            (Some(Fp4Scheme::Nvfp4 { .. }), Fp4Scheme::Nvfp4 { .. }) => Rule::Same,
            (Some(Fp4Scheme::Mxfp4 { .. }), Fp4Scheme::Nvfp4 { .. }) => Rule::Cast,
            (Some(Fp4Scheme::Nvfp4 { .. }), Fp4Scheme::Mxfp4 { scale_rule }) => {
                Rule::Requantize(scale_rule)
            }
            (_, scheme) => Rule::Round(scheme),
        })
    }

    /// The global scale of a matrix that is not in NVFP4 yet.
    pub(super) fn global_scale(&mut self, index: usize) -> Result<f32, GptOssError> {
        match self.rule(self.spec(index))? {
            Rule::Cast => self.cast_scale(index),
            _ => {
                let packed = self.packed(index, 0..1)?;
                Ok(packed.global_scales().first().copied().unwrap_or(1.0))
            }
        }
    }

    fn cast_scale(&mut self, index: usize) -> Result<f32, GptOssError> {
        if let Some(global_scale) = self.globals.get(&index) {
            return Ok(*global_scale);
        }
        let spec = self.spec(index);
        let global_scale = self.source.packed(spec)?.nvfp4_global_scale();
        let global_scale = global_scale.map_err(GptOssError::fp4(&spec.name))?;
        self.globals.insert(index, global_scale);
        Ok(global_scale)
    }

    fn cast(&mut self, index: usize, experts: Range<usize>) -> Result<Packed<'a>, GptOssError> {
        let spec = self.spec(index);
        let fp4 = || GptOssError::fp4(&spec.name);
        let global_scale = self.cast_scale(index)?;
        let packed = self.source.packed_of(spec, experts)?;
        let (cast, report) = packed.cast_to_nvfp4_with(global_scale).map_err(fp4())?;
        let sum = self.cast.unwrap_or_default();
        self.cast = Some(sum + report);
        Ok(cast.map(Cow::Owned))
    }

    /// Dense matrices, rounded.
    fn rounded(
        &mut self,
        index: usize,
        experts: Range<usize>,
        scheme: Fp4Scheme,
    ) -> Result<PackedFp4, GptOssError> {
        let dtype = self.source.dtype_of(&self.spec(index).name)?;
        match dtype {
            Dtype::BF16 => self.rounded_from::<bf16>(index, experts, scheme),
            _ => self.rounded_from::<f32>(index, experts, scheme),
        }
    }

    fn rounded_from<T: Weight + burn_fp4::Fp4Element>(
        &mut self,
        index: usize,
        experts: Range<usize>,
        scheme: Fp4Scheme,
    ) -> Result<PackedFp4, GptOssError> {
        let spec = self.spec(index);
        let amax = self.amax(index, scheme, |this, experts| {
            this.values::<T>(index, experts)
        })?;
        let quantizer = quantizer(scheme, amax);
        let values = self.values::<T>(index, experts.clone())?;
        let shape = [experts.len(), spec.shape[1], spec.shape[2]];
        let packed = quantizer.quantize(&values, &shape, 1);
        packed.map_err(GptOssError::fp4(&spec.name))
    }

    /// The largest magnitude of a matrix, where the format has a global scale.
    fn amax<T: burn_fp4::Fp4Element>(
        &mut self,
        index: usize,
        scheme: Fp4Scheme,
        values: impl Fn(&Self, Range<usize>) -> Result<Vec<T>, GptOssError>,
    ) -> Result<Option<f32>, GptOssError> {
        if matches!(scheme, Fp4Scheme::Mxfp4 { .. }) {
            return Ok(None);
        }
        if let Some(amax) = self.globals.get(&index) {
            return Ok(Some(*amax));
        }
        let (spec, quantizer) = (self.spec(index), SliceQuantizer::new(scheme));
        let mut amax = 0f32;
        for experts in chunks(spec) {
            let values = values(self, experts)?;
            let found = quantizer.amax(&values, &[values.len()]);
            let found = found.map_err(GptOssError::fp4(&spec.name))?;
            amax = found.into_iter().fold(amax, f32::max);
        }
        self.globals.insert(index, amax);
        Ok(Some(amax))
    }

    /// Values of dense matrices, `[n, in, out]`, all of them finite.
    fn values<T: Weight>(
        &self,
        index: usize,
        experts: Range<usize>,
    ) -> Result<Vec<T>, GptOssError> {
        let spec = self.spec(index);
        let dtype = self.source.dtype_of(&spec.name)?;
        let bytes = self.source.raw_of(&spec.name, experts.clone())?;
        let values = decode::<T>(dtype, &bytes);
        let values = values.ok_or_else(|| self.no_float(&spec.name, dtype))?;
        match first_non_finite(&values) {
            None => Ok(values),
            Some(at) => {
                let (inputs, outputs) = (spec.shape[1], spec.shape[2]);
                let row = vec![
                    experts.start + at / (inputs * outputs),
                    at / outputs % inputs,
                ];
                Err(self.non_finite(spec, row, values[at].to_f32()))
            }
        }
    }

    /// Values of packed matrices, `[n, in, out]`, in BF16.
    pub(super) fn decoded_bf16(
        &self,
        spec: &TensorSpec,
        experts: Range<usize>,
    ) -> Result<Vec<bf16>, GptOssError> {
        let packed = self.source.packed_of(spec, experts.clone())?;
        let mut values = vec![bf16::ZERO; packed.n_elements()];
        let decoded = packed.dequantize_along(1, &mut values);
        decoded.map_err(GptOssError::fp4(&spec.name))?;
        match first_non_finite(&values) {
            None => Ok(values),
            Some(at) => {
                let (inputs, outputs) = (spec.shape[1], spec.shape[2]);
                let row = vec![experts.start + at / (inputs * outputs), at % outputs];
                Err(self.non_finite(spec, row, values[at].to_f32()))
            }
        }
    }

    fn non_finite(&self, spec: &TensorSpec, row: Vec<usize>, value: f32) -> GptOssError {
        let scales = self.source.name_of(spec, Part::Scales);
        let tensor = scales.unwrap_or_else(|_| spec.name.clone());
        GptOssError::NonFiniteWeight {
            path: self.source.file_of(&tensor),
            tensor,
            row,
            value,
        }
    }
}

fn quantizer(scheme: Fp4Scheme, amax: Option<f32>) -> SliceQuantizer {
    let quantizer = SliceQuantizer::new(scheme);
    match amax {
        // All are zeros otherwise, and need no scale.
        Some(amax) if amax > 0.0 => quantizer.with_global_amax(GlobalAmax::Frozen(vec![amax])),
        _ => quantizer,
    }
}
