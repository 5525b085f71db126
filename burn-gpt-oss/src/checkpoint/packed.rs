//! Packed expert matrices as they lie in a checkpoint.

use std::borrow::Cow;
use std::ops::Range;

use burn::tensor::{Bytes, Device};
use burn_fp4::layout::StoredTensor as Parts;
use burn_fp4::layout::modelopt::{self, ModelOptWeight};
use burn_fp4::{Fp4Tensor, PackedFp4};

use super::form::Part;
use super::{CheckpointForm, CheckpointReader, TensorSpec};
use crate::error::GptOssError;

impl CheckpointReader {
    /// The packed form of an expert matrix, `[experts, out, in]`. In MXFP4 it borrows from the file; the codes of
    /// NVFP4 lie the other way around there and are copied. Of a file that cannot be read to its end they may be zeros:
    /// [`check_unchanged`](Self::check_unchanged) tells afterwards.
    ///
    /// # Errors
    /// [`GptOssError::Unsupported`] if it is stored dense, [`GptOssError::NonFiniteWeight`] for a global scale that is
    /// NaN or infinite.
    pub fn packed(&self, spec: &TensorSpec) -> Result<PackedFp4<Cow<'_, [u8]>>, GptOssError> {
        self.packed_of(spec, 0..spec.shape[0])
    }

    /// [`packed`](Self::packed) of some experts.
    pub(super) fn packed_of(
        &self,
        spec: &TensorSpec,
        experts: Range<usize>,
    ) -> Result<PackedFp4<Cow<'_, [u8]>>, GptOssError> {
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
        let part = |part| self.part(spec, part, experts.clone());
        let (codes, scales) = (part(Part::Codes)?, part(Part::Scales)?);
        let packed = match form {
            CheckpointForm::Nvfp4 | CheckpointForm::Nvfp4W4A4 => {
                let mut global = self.global_scales(spec)?;
                if global.data.len() > 1 {
                    global = Parts::new([experts.len()], global.data[experts.clone()].to_vec());
                }
                modelopt::from_fused_experts(&ModelOptWeight {
                    weight: codes,
                    weight_scale: scales,
                    weight_scale_2: global,
                })
                .map(|packed| packed.map(Cow::Owned))
            }
            CheckpointForm::Mxfp4 | CheckpointForm::Bf16 => {
                let mut shape = spec.packed_shape();
                shape[0] = experts.len();
                PackedFp4::from_parts(scheme, shape, codes.data, scales.data)
            }
        };
        packed.map_err(GptOssError::fp4(&spec.name))
    }

    fn part(
        &self,
        spec: &TensorSpec,
        part: Part,
        experts: Range<usize>,
    ) -> Result<Parts<Cow<'_, [u8]>>, GptOssError> {
        let name = self.name_of(spec, part)?;
        let mut shape = self.shape_of(&name)?.to_vec();
        shape[0] = experts.len();
        Ok(Parts::new(shape, self.raw_of(&name, experts)?))
    }

    pub(super) fn global_scales(&self, spec: &TensorSpec) -> Result<Parts<Vec<f32>>, GptOssError> {
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

    /// Fails at the first block scale that means NaN; `scales` may be those of some experts.
    pub(super) fn check_scales(&self, spec: &TensorSpec, scales: &[u8]) -> Result<(), GptOssError> {
        let form = self.form_of(spec);
        let Some(index) = scales.iter().position(|byte| form.is_nan_scale(*byte)) else {
            return Ok(());
        };
        let tensor = self.name_of(spec, Part::Scales)?;
        let blocks = match form.scheme() {
            Some(scheme) => spec.shape[1] / scheme.block_size(),
            None => 1,
        };
        let row = index / blocks;
        Err(GptOssError::NonFiniteWeight {
            path: self.file_of(&tensor),
            row: vec![row / spec.shape[2], row % spec.shape[2]],
            tensor,
            value: f32::NAN,
        })
    }
}
