//! The parameters of a model, one after the other.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Element, FloatDType, Tensor, TensorData};
use safetensors::Dtype;

use crate::checkpoint::elements::Weight;
use crate::checkpoint::{CheckpointProgress, CheckpointReader, TensorLayout, TensorSpec};
use crate::error::GptOssError;
use crate::model::GptOss;

/// What becomes of the matrices that a checkpoint stores in 16-bit floats.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dense {
    /// They take the dtype of everything else.
    Decoded,
    /// They stay, where a device can have it, in the file.
    Stored,
}

/// The field of packed matrices that is a float parameter.
const GLOBAL_SCALES: &str = "global_scales";

/// Replaces every parameter by the checkpoint's, in module order.
pub(super) struct Loader<'a, P> {
    reader: &'a CheckpointReader,
    device: &'a Device,
    dtype: FloatDType,
    dense: Dense,
    path: Vec<String>,
    bytes_done: u64,
    progress: P,
    /// Mappers cannot fail, so the first error is kept and the rest of the walk skipped.
    error: Option<GptOssError>,
}

/// The walk for one element type.
struct TypedLoader<'l, 'a, P, T>(&'l mut Loader<'a, P>, std::marker::PhantomData<T>);

impl<'a, P: FnMut(CheckpointProgress<'_>)> Loader<'a, P> {
    pub(super) fn new(
        reader: &'a CheckpointReader,
        (device, dtype): (&'a Device, FloatDType),
        dense: Dense,
        bytes_done: u64,
        progress: P,
    ) -> Self {
        Self {
            reader,
            device,
            dtype,
            dense,
            path: Vec::new(),
            bytes_done,
            progress,
            error: None,
        }
    }

    pub(super) fn run<T: Weight + Element + burn_fp4::Fp4Element>(
        mut self,
        model: GptOss,
    ) -> Result<GptOss, GptOssError> {
        let model = model.map(&mut TypedLoader::<P, T>(
            &mut self,
            std::marker::PhantomData,
        ));
        self.error.map_or(Ok(model), Err)
    }

    fn load<T: Weight + Element + burn_fp4::Fp4Element, const D: usize>(
        &mut self,
    ) -> Result<Tensor<D>, GptOssError> {
        let path = self.path.join(".");
        let spec = self.reader.specs().iter().find(|spec| spec.path == path);
        let spec = spec.ok_or_else(|| GptOssError::Unsupported {
            what: format!("the parameter `{path}`"),
            hint: "load the model before quantizers or adapters are inserted".into(),
        })?;
        let stored = match self.dense {
            Dense::Stored => self.reader.stored_matrix(spec, self.device, self.dtype)?,
            Dense::Decoded => None,
        };
        let tensor = match stored {
            Some(tensor) => tensor,
            None => {
                let data = TensorData::new(self.reader.weights::<T>(spec)?, spec.shape.clone());
                let dtype = data.dtype();
                Tensor::from_data(data, (self.device, dtype))
            }
        };
        self.bytes_done += self.reader.stored_len(spec);
        (self.progress)(CheckpointProgress {
            tensor: &spec.name,
            bytes_done: self.bytes_done,
            bytes_total: self.reader.data_len(),
        });
        Ok(tensor)
    }
}

impl CheckpointReader {
    /// The matrix of a linear layer or of the embedding on the mapped file, if it is in 16-bit floats there.
    fn stored_matrix<const D: usize>(
        &self,
        spec: &TensorSpec,
        device: &Device,
        activations: FloatDType,
    ) -> Result<Option<Tensor<D>>, GptOssError> {
        let matrix = matches!(spec.layout, TensorLayout::Transposed | TensorLayout::Same);
        if D != 2 || spec.shape.len() != 2 || !matrix || spec.path.contains("bias") {
            return Ok(None);
        }
        let raw = self.raw(&spec.name)?;
        let dtype = match raw.dtype {
            Dtype::BF16 => FloatDType::BF16,
            Dtype::F16 => FloatDType::F16,
            _ => return Ok(None),
        };
        // Products take a narrower matrix beside float32, and no other mixture.
        let fits = dtype == activations || activations == FloatDType::F32;
        if !fits || !device.supports_dtype(dtype) {
            return Ok(None);
        }
        // Headers of any length are allowed, floats at odd addresses are not.
        let bytes = self.shared(&spec.name)?;
        let aligned = bytes.as_ptr().cast::<u16>().is_aligned();
        if !aligned {
            return Ok(None);
        }
        let data = TensorData::from_bytes(bytes, spec.file_shape(), dtype.into());
        let tensor = Tensor::from_data(data, (device, DType::from(dtype)));
        Ok(Some(match spec.layout {
            TensorLayout::Transposed => tensor.swap_dims(0, 1),
            _ => tensor,
        }))
    }
}

impl<P, T> ModuleMapper for TypedLoader<'_, '_, P, T>
where
    P: FnMut(CheckpointProgress<'_>),
    T: Weight + Element + burn_fp4::Fp4Element,
{
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.0.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.0.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // Packed matrices are loaded before, with the global scales that they have.
        let is_loaded = self.0.path.last().is_some_and(|name| name == GLOBAL_SCALES);
        if self.0.error.is_some() || is_loaded {
            return param;
        }
        match self.0.load::<T, D>() {
            Ok(tensor) => {
                let mut loaded = Param::from_tensor(tensor);
                loaded.id = param.id;
                loaded
            }
            Err(error) => {
                self.0.error = Some(error);
                param
            }
        }
    }
}
