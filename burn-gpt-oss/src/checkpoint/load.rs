mod parameters;

use burn::tensor::{Device, FloatDType};
use burn_fp4::Calibration;
use half::bf16;

use super::elements::{Weight, decode, first_non_finite, transpose};
use super::form::{Part, input_scale};
use super::{CheckpointProgress, CheckpointReader, TensorLayout, TensorSpec};
use crate::error::GptOssError;
use crate::model::GptOss;
use parameters::{Dense, Loader};

impl CheckpointReader {
    /// Loads the model onto a device. MXFP4 experts are decoded, which is exact in every float type
    /// offered; one tensor at a time is held besides the model.
    ///
    /// # Errors
    /// Mismatching tensors, [`GptOssError::NonFiniteWeight`], and [`GptOssError::Unsupported`] for a
    /// dtype other than F32 and BF16.
    pub fn load(
        &self,
        device: &Device,
        dtype: FloatDType,
        progress: impl FnMut(CheckpointProgress<'_>),
    ) -> Result<GptOss, GptOssError> {
        let model = self.config().init(device);
        self.load_rest(model, (device, dtype), Dense::Decoded, 0, progress)
    }

    /// [`load`](Self::load) with experts that stay packed, with the codes and scales of the file; `dtype` is
    /// that of the other weights.
    ///
    /// # Errors
    /// Those of [`load`](Self::load), and [`GptOssError::Unsupported`] for a BF16 checkpoint.
    pub fn load_packed(
        &self,
        device: &Device,
        dtype: FloatDType,
        progress: impl FnMut(CheckpointProgress<'_>),
    ) -> Result<GptOss, GptOssError> {
        self.load_with_packed_experts((device, dtype), Dense::Decoded, progress)
    }

    /// Loads the model for inference in the types of the file: packed experts stay packed, and matrices of
    /// 16-bit floats keep their type. `dtype` is that of the residual stream, of norms, biases and sinks,
    /// and of experts that are stored dense.
    ///
    /// On Flex these matrices are the memory-mapped file itself, but for codes in NVFP4, which lie the other way around
    /// there and are copied. Data is read when it is first used. The
    /// model needs as much memory as the file, which the system shares between processes and can take back.
    /// The files must not be changed in place while the model exists. On other devices the matrices are
    /// copied, and converted to `dtype` if the device does not have their type. Weights that stay in the
    /// file are not checked for NaN: a NaN causes an error only where a result that depends on it is used.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_stored(
        &self,
        device: &Device,
        dtype: FloatDType,
        progress: impl FnMut(CheckpointProgress<'_>),
    ) -> Result<GptOss, GptOssError> {
        if self.form().scheme().is_some() {
            return self.load_with_packed_experts((device, dtype), Dense::Stored, progress);
        }
        let model = self.config().init(device);
        self.load_rest(model, (device, dtype), Dense::Stored, 0, progress)
    }

    fn load_with_packed_experts(
        &self,
        (device, dtype): (&Device, FloatDType),
        dense: Dense,
        mut progress: impl FnMut(CheckpointProgress<'_>),
    ) -> Result<GptOss, GptOssError> {
        let mut model = self.config().init(device);
        let mut bytes_done = 0;
        for (path, weight) in model.expert_weights_mut() {
            let spec = match (self.packed_spec(&path), dense) {
                (Ok(spec), _) => spec,
                // Some layers of a checkpoint may be dense; they are loaded with the rest.
                (Err(_), Dense::Stored) => continue,
                (Err(error), Dense::Decoded) => return Err(error),
            };
            *weight = self
                .packed_tensor(spec, dense == Dense::Stored, device)?
                .into();
            bytes_done += self.stored_len(spec);
            progress(CheckpointProgress {
                tensor: &spec.name,
                bytes_done,
                bytes_total: self.data_len(),
            });
        }
        self.load_rest(model, (device, dtype), dense, bytes_done, progress)
    }

    fn packed_spec(&self, path: &str) -> Result<&TensorSpec, GptOssError> {
        let spec = self.specs().iter().find(|spec| spec.path == path);
        spec.filter(|spec| self.is_packed(spec))
            .ok_or_else(|| GptOssError::Unsupported {
                what: format!("keeping `{path}` packed, which the checkpoint stores dense,"),
                hint: "load it dense, then call `pack_experts`".into(),
            })
    }

    pub(super) fn release_parameter(&self, spec: &TensorSpec) -> Result<(), GptOssError> {
        let stored = self.stored(spec)?;
        stored.iter().for_each(|tensor| self.release(&tensor.name));
        Ok(())
    }

    /// Loads all dense parameters of a model, of which the others are loaded.
    fn load_rest(
        &self,
        model: GptOss,
        (device, dtype): (&Device, FloatDType),
        dense: Dense,
        bytes_done: u64,
        progress: impl FnMut(CheckpointProgress<'_>),
    ) -> Result<GptOss, GptOssError> {
        let loader = Loader::new(self, (device, dtype), dense, bytes_done, progress);
        let model = match dtype {
            FloatDType::F32 => loader.run::<f32>(model),
            FloatDType::BF16 => loader.run::<bf16>(model),
            other => Err(GptOssError::Unsupported {
                what: format!("loading weights as {other:?}"),
                hint: "load as F32 or BF16".into(),
            }),
        }?;
        let model = self.with_inputs(model)?;
        self.check_unchanged()?;
        Ok(model)
    }

    /// The model with quantizers on its inputs, where the checkpoint has scales of them.
    fn with_inputs(&self, model: GptOss) -> Result<GptOss, GptOssError> {
        let Some(format) = self.form().inputs() else {
            return Ok(model);
        };
        let experts = self.specs().iter();
        let experts = experts.filter(|spec| spec.layout == TensorLayout::Experts);
        let scales = experts.map(|spec| self.input_scale(spec));
        let scales = scales.collect::<Result<Vec<_>, _>>()?;
        let model = model.with_activation_quantizers(format, Calibration::Max)?;
        model.with_input_scales(&scales)
    }

    fn input_scale(&self, spec: &TensorSpec) -> Result<(String, f32), GptOssError> {
        let name = input_scale(spec).name;
        let scale = self.input_scale_of(&name)?;
        Ok((name, scale))
    }

    /// The scale of the inputs of a matrix.
    pub(super) fn input_scale_of(&self, name: &str) -> Result<f32, GptOssError> {
        let raw = self.raw(name)?;
        let bytes = raw.bytes.as_ref().try_into();
        let scale = f32::from_le_bytes(bytes.map_err(|_| GptOssError::Shape {
            path: self.file_of(name),
            tensor: name.to_owned(),
            expected: Vec::new(),
            found: raw.shape.to_vec(),
        })?);
        match scale.is_finite() && scale > 0.0 {
            true => Ok(scale),
            false => Err(GptOssError::NonFiniteWeight {
                path: self.file_of(name),
                tensor: name.to_owned(),
                row: vec![0],
                value: scale,
            }),
        }
    }

    /// The values of one parameter in the module's layout, as float32. Of a file that cannot be read to its end they may be
    /// zeros: [`check_unchanged`](Self::check_unchanged) tells afterwards.
    ///
    /// # Errors
    /// Mismatching tensors.
    pub fn values(&self, spec: &TensorSpec) -> Result<Vec<f32>, GptOssError> {
        self.weights(spec)
    }

    fn weights<T: Weight + burn_fp4::Fp4Element>(
        &self,
        spec: &TensorSpec,
    ) -> Result<Vec<T>, GptOssError> {
        if self.is_packed(spec) {
            let mut values = vec![T::default(); spec.len()];
            self.packed(spec)?
                .dequantize_along(1, &mut values)
                .map_err(GptOssError::fp4(&spec.name))?;
            self.release_parameter(spec)?;
            // The blocks of a row are a column of the decoded matrix.
            let (inputs, outputs) = (spec.shape[1], spec.shape[2]);
            let row = |index: usize| vec![index / (inputs * outputs), index % outputs];
            self.check_finite(&self.name_of(spec, Part::Scales)?, &values, row)?;
            return Ok(values);
        }
        let raw = self.raw(&spec.name)?;
        let values = decode(raw.dtype, &raw.bytes).ok_or_else(|| GptOssError::Dtype {
            path: self.file_of(&spec.name),
            tensor: spec.name.clone(),
            expected: "BF16, F16 or F32".into(),
            found: format!("{:?}", raw.dtype),
        })?;
        self.release(&spec.name);
        self.check_finite(&spec.name, &values, |index| row_of(index, raw.shape))?;
        Ok(match (spec.layout, raw.shape) {
            (TensorLayout::Transposed, [rows, cols]) => transpose(&values, *rows, *cols),
            _ => values,
        })
    }

    /// Searches all weights for NaN and infinite values, as [`load`](Self::load) does; what is loaded
    /// [as it lies in the file](Self::load_stored) was not searched.
    ///
    /// # Errors
    /// [`GptOssError::NonFiniteWeight`] for the first one, [`GptOssError::FileChanged`].
    pub fn check_weights(&self) -> Result<(), GptOssError> {
        let check = |spec| self.weights::<f32>(spec).map(drop);
        self.specs().iter().try_for_each(check)?;
        self.check_unchanged()
    }

    /// Fails at the first NaN or infinite value, before anything is computed with it.
    fn check_finite<T: Weight>(
        &self,
        tensor: &str,
        values: &[T],
        row: impl Fn(usize) -> Vec<usize>,
    ) -> Result<(), GptOssError> {
        match first_non_finite(values) {
            None => Ok(()),
            Some(index) => Err(GptOssError::NonFiniteWeight {
                path: self.file_of(tensor),
                tensor: tensor.to_owned(),
                row: row(index),
                value: values[index].to_f32(),
            }),
        }
    }

    pub(super) fn stored_len(&self, spec: &TensorSpec) -> u64 {
        let len = |name: &str| self.stored_bytes(name);
        let stored = self.stored(spec).unwrap_or_default();
        stored.iter().map(|tensor| len(&tensor.name)).sum()
    }
}

/// Indices of an element in all axes but the last; of a vector its index.
fn row_of(index: usize, shape: &[usize]) -> Vec<usize> {
    let (mut rest, mut row) = (index, Vec::with_capacity(shape.len()));
    for size in shape.iter().rev() {
        row.push(rest % size);
        rest /= size;
    }
    row.reverse();
    if row.len() > 1 {
        row.pop();
    }
    row
}
