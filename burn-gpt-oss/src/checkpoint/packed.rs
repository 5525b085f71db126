//! Packed expert matrices as they lie in a checkpoint.

use std::borrow::Cow;

use burn::tensor::{Bytes, Device};
use burn_fp4::layout::StoredTensor as Parts;
use burn_fp4::layout::modelopt::{self, ModelOptWeight};
use burn_fp4::{Fp4Tensor, PackedFp4};

use super::form::Part;
use super::{CheckpointForm, CheckpointReader, RawTensor, TensorSpec};
use crate::error::GptOssError;

impl CheckpointReader {
    /// The packed form of an expert matrix, `[experts, out, in]`. In MXFP4 it borrows from the file; the codes of
    /// NVFP4 lie the other way around there and are copied.
    ///
    /// # Errors
    /// [`GptOssError::Unsupported`] if it is stored dense, [`GptOssError::NonFiniteWeight`] for a global scale that is
    /// NaN or infinite.
    pub fn packed(&self, spec: &TensorSpec) -> Result<PackedFp4<Cow<'_, [u8]>>, GptOssError> {
        let form = self.form_of(spec);
        let Some(scheme) = form.scheme() else {
            return Err(GptOssError::Unsupported {
                what: format!(
                    "reading `{}` packed, which the checkpoint stores dense,",
                    spec.name
                ),
                hint: "read its values".into(),
            });
        };
        let (codes, scales) = (
            self.part(spec, Part::Codes)?,
            self.part(spec, Part::Scales)?,
        );
        let packed = match form {
            CheckpointForm::Nvfp4 | CheckpointForm::Nvfp4W4A4 => {
                modelopt::from_fused_experts(&ModelOptWeight {
                    weight: Parts::new(codes.shape, codes.bytes),
                    weight_scale: Parts::new(scales.shape, scales.bytes),
                    weight_scale_2: self.global_scales(spec)?,
                })
                .map(|packed| packed.map(Cow::Owned))
            }
            CheckpointForm::Mxfp4 | CheckpointForm::Bf16 => PackedFp4::from_parts(
                scheme,
                spec.packed_shape(),
                Cow::Borrowed(codes.bytes),
                Cow::Borrowed(scales.bytes),
            ),
        };
        packed.map_err(GptOssError::fp4(&spec.name))
    }

    fn part(&self, spec: &TensorSpec, part: Part) -> Result<RawTensor<'_>, GptOssError> {
        self.raw(&self.name_of(spec, part)?)
    }

    fn global_scales(&self, spec: &TensorSpec) -> Result<Parts<Vec<f32>>, GptOssError> {
        let tensor = self.name_of(spec, Part::GlobalScale)?;
        let raw = self.raw(&tensor)?;
        let words = raw.bytes.as_chunks::<4>().0.iter();
        let scales: Vec<f32> = words.map(|word| f32::from_le_bytes(*word)).collect();
        match scales.iter().position(|scale| !scale.is_finite()) {
            Some(index) => Err(GptOssError::NonFiniteWeight {
                path: self.file_of(&tensor),
                row: vec![index],
                tensor,
                value: scales[index],
            }),
            None => Ok(Parts::new(raw.shape, scales)),
        }
    }

    /// An expert matrix on a device: on the mapped file if `shared` and if its bytes lie there as a device has them,
    /// else a copy whose scales are checked.
    pub(super) fn packed_tensor(
        &self,
        spec: &TensorSpec,
        shared: bool,
        device: &Device,
    ) -> Result<Fp4Tensor<3>, GptOssError> {
        let packed = self.packed(spec)?;
        let (scheme, global) = (packed.scheme(), packed.global_scales().to_vec());
        let bytes = match packed.into_parts() {
            (Cow::Borrowed(_), Cow::Borrowed(_)) if shared => {
                let mapped = |part| self.shared(&self.name_of(spec, part)?);
                (mapped(Part::Codes)?, mapped(Part::Scales)?)
            }
            (codes, scales) => {
                self.check_scales(spec, &scales)?;
                let owned = |bytes: Cow<'_, [u8]>| Bytes::from_bytes_vec(bytes.into_owned());
                (owned(codes), owned(scales))
            }
        };
        let shape = spec.packed_shape();
        let shape = [shape[0], shape[1], shape[2]];
        let tensor = Fp4Tensor::from_bytes(scheme, shape, bytes, &global, device)
            .map_err(GptOssError::fp4(&spec.name))?;
        self.release_parameter(spec)?;
        Ok(tensor)
    }

    /// Fails at the first block scale that means NaN.
    fn check_scales(&self, spec: &TensorSpec, scales: &[u8]) -> Result<(), GptOssError> {
        let form = self.form_of(spec);
        let Some(index) = scales.iter().position(|byte| form.is_nan_scale(*byte)) else {
            return Ok(());
        };
        let tensor = self.name_of(spec, Part::Scales)?;
        let blocks = scales.len() / (spec.shape[0] * spec.shape[2]);
        let row = index / blocks;
        Err(GptOssError::NonFiniteWeight {
            path: self.file_of(&tensor),
            row: vec![row / spec.shape[2], row % spec.shape[2]],
            tensor,
            value: f32::NAN,
        })
    }
}
