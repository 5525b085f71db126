//! Readers of the parameters of a model.

use std::collections::BTreeMap;
use std::rc::Rc;

use burn::module::{ModuleVisitor, Param, Reparameterization};
use burn::tensor::{Bytes, DType, Tensor};
use burn_fp4::{ActivationFormat, LowRankAdapter};

use crate::error::GptOssError;
use crate::model::GptOss;

pub(super) type Values = Box<dyn Fn() -> Result<Vec<f32>, GptOssError>>;
/// The bytes of a matrix that is in bfloat16, turned if asked; none of others.
pub(super) type Narrow = Box<dyn Fn(bool) -> Result<Option<Bytes>, GptOssError>>;

/// Readers of all parameters by path. Reading one copies it to the host, one at a time.
#[derive(Default)]
pub(super) struct Parameters {
    path: Vec<String>,
    pub values: BTreeMap<String, Values>,
    pub narrow: BTreeMap<String, Narrow>,
}

impl ModuleVisitor for Parameters {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (tensor, path) = (param.base(), self.path.join("."));
        self.add(path, move || tensor.clone());
    }
}

impl Parameters {
    fn add<const D: usize>(&mut self, path: String, tensor: impl Fn() -> Tensor<D> + 'static) {
        let name = path.clone();
        let tensor = Rc::new(tensor);
        let again = tensor.clone();
        let values = move || read(tensor(), &name);
        self.values.insert(path.clone(), Box::new(values));
        let name = path.clone();
        let narrow = move |turned: bool| {
            let tensor = again();
            // Words of other machines are not those of the file.
            if tensor.dtype() != DType::BF16 || cfg!(target_endian = "big") {
                return Ok(None);
            }
            let tensor = match turned {
                true => tensor.swap_dims(0, 1),
                false => tensor,
            };
            let data = tensor
                .try_into_data()
                .map_err(|error| unread(&name, &error))?;
            Ok(Some(data.into_bytes()))
        };
        self.narrow.insert(path, Box::new(narrow));
    }

    /// The scales of inputs in the place of the quantizers that hold them.
    pub fn take_input_scales(
        &mut self,
        model: &GptOss,
        format: ActivationFormat,
    ) -> Result<BTreeMap<String, f32>, GptOssError> {
        for (path, quantizer) in model.activation_quantizers() {
            if quantizer.format() != format {
                return Err(GptOssError::Unsupported {
                    what: format!("inputs rounded to {:?} in a checkpoint", quantizer.format()),
                    hint: format!("round them to {format:?}, or remove their quantizers"),
                });
            }
            self.values.remove(&format!("{path}.amax"));
        }
        Ok(model.input_scales()?.into_iter().collect())
    }

    fn forget_factors(&mut self, path: &str) {
        let of_adapter = format!("{path}.{}.", LowRankAdapter::<3>::NAME);
        self.values.retain(|path, _| !path.starts_with(&of_adapter));
    }

    /// Sums of matrices and their adapters in the place of both.
    pub fn merge_adapters(&mut self, model: &GptOss) {
        for (path, weight) in model.expert_weights() {
            if weight.adapter().is_some() {
                self.forget_factors(&path);
            }
        }
        for (path, weight) in model.matrices() {
            if let Some(adapter) = weight.reparameterization::<LowRankAdapter<2>>() {
                self.forget_factors(&path);
                let (adapter, base) = (adapter.clone(), weight.base());
                self.add(path.clone(), move || adapter.adapted(base.clone()).val());
                // The sum is in float32, and would be computed twice.
                self.narrow.remove(&path);
            }
        }
    }
}

pub(super) fn read<const D: usize>(tensor: Tensor<D>, path: &str) -> Result<Vec<f32>, GptOssError> {
    let values = tensor.try_to_vec_as::<f32>();
    values.map_err(|error| unread(path, &error))
}

fn unread(path: &str, error: &dyn std::fmt::Display) -> GptOssError {
    GptOssError::Unsupported {
        what: format!("reading the parameter `{path}` from its device ({error})"),
        hint: "check the device's error log".into(),
    }
}
