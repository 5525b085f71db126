//! From factors to the adapters of a model, and back.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use burn_fp4::LowRankAdapter;

use super::{AdapterCheckpoint, AdapterSettings, Factors};
use crate::error::GptOssError;
use crate::model::GptOss;

impl AdapterCheckpoint {
    /// The factors of a model's adapters.
    ///
    /// # Errors
    /// A model without adapters or with those of another rank or scaling than the settings say, and a device that
    /// cannot be read.
    pub fn of(model: &GptOss, settings: AdapterSettings) -> Result<Self, GptOssError> {
        let mut checkpoint = Self {
            settings,
            factors: Default::default(),
        };
        for (path, weight) in model.matrices() {
            if let Some(adapter) = weight.reparameterization::<LowRankAdapter<2>>() {
                check_settings(adapter, &path, &checkpoint.settings)?;
                let factors = factors(adapter, &path)?;
                checkpoint.factors.insert(path, factors);
            }
        }
        for (path, weight) in model.expert_weights() {
            if let Some(adapter) = weight.adapter() {
                check_settings(adapter, &path, &checkpoint.settings)?;
                let factors = factors(adapter, &path)?;
                checkpoint.factors.insert(path, factors);
            }
        }
        match checkpoint.factors.is_empty() {
            false => Ok(checkpoint),
            true => Err(GptOssError::Unsupported {
                what: "an adapter of a model that has none".into(),
                hint: "insert adapters first".into(),
            }),
        }
    }

    /// Gives a model these adapters and freezes everything else. Expert matrices that were rounded to FP4 behind
    /// an adapter are not from now on.
    ///
    /// # Errors
    /// Factors of a parameter that the model does not have, or of another shape.
    pub fn attach(self, model: GptOss) -> Result<GptOss, GptOssError> {
        let device = model.devices().into_iter().next().unwrap_or_default();
        let mut model = model.freeze();
        let (scaling, dropout) = (self.settings.scaling(), self.settings.dropout);
        let mut rest = self.factors;
        for (path, weight) in model.matrices_mut() {
            let Some(factors) = rest.remove(&path) else {
                continue;
            };
            let shape = weight.lazy_shape().dims::<2>();
            check(&path, &factors, [1, shape[0], shape[1]])?;
            let adapter = adapter::<2>(factors, scaling, &device).with_dropout(dropout);
            *weight = adapter.attach(weight.clone());
        }
        for (path, weight) in model.expert_weights_mut() {
            let Some(factors) = rest.remove(&path) else {
                continue;
            };
            check(&path, &factors, weight.shape())?;
            let adapter = adapter::<3>(factors, scaling, &device);
            *weight = weight.clone().with_adapter(adapter);
        }
        match rest.into_keys().next() {
            None => Ok(model),
            Some(path) => Err(GptOssError::Unsupported {
                what: format!("an adapter of `{path}`, which this model does not have,"),
                hint: "take the adapter of a model of the same architecture".into(),
            }),
        }
    }
}

fn check_settings<const D: usize>(
    adapter: &LowRankAdapter<D>,
    path: &str,
    settings: &AdapterSettings,
) -> Result<(), GptOssError> {
    let found = (adapter.rank(), adapter.scaling());
    match found == (settings.rank, settings.scaling()) {
        true => Ok(()),
        false => Err(GptOssError::Unsupported {
            what: format!(
                "an adapter of `{path}` with rank {} and scaling {} under settings with {} and {}",
                found.0,
                found.1,
                settings.rank,
                settings.scaling()
            ),
            hint: "give the settings that the adapter was made with".into(),
        }),
    }
}

fn check(path: &str, factors: &Factors, shape: [usize; 3]) -> Result<(), GptOssError> {
    match factors.shape == shape {
        true => Ok(()),
        false => Err(GptOssError::Unsupported {
            what: format!(
                "an adapter of `{path}` for matrices {:?} where the model has {shape:?}",
                factors.shape
            ),
            hint: "take the adapter of a model of the same architecture".into(),
        }),
    }
}

fn adapter<const D: usize>(factors: Factors, scaling: f32, device: &Device) -> LowRankAdapter<D> {
    let [experts, d_input, d_output] = factors.shape;
    let tensor = |values: Vec<f32>, last: [usize; 2]| {
        let shape: [usize; D] = match D {
            2 => core::array::from_fn(|i| last[i]),
            _ => core::array::from_fn(|i| [experts, last[0], last[1]][i]),
        };
        Tensor::<D>::from_data(TensorData::new(values, shape), device)
    };
    LowRankAdapter::new(
        tensor(factors.a, [d_input, factors.rank]),
        tensor(factors.b, [factors.rank, d_output]),
        scaling,
    )
}

fn factors<const D: usize>(
    adapter: &LowRankAdapter<D>,
    path: &str,
) -> Result<Factors, GptOssError> {
    let delta = adapter.delta();
    let shape = delta.shape();
    let experts = if D == 2 { 1 } else { shape[0] };
    let read = |tensor: Tensor<D>, name: &str| {
        let values = tensor.try_into_vec_as::<f32>();
        values.map_err(|error| GptOssError::Device {
            action: "read a factor of an adapter",
            message: format!("{path}.lora.{name}: {error}"),
        })
    };
    Ok(Factors {
        a: read(delta.a, "a")?,
        b: read(delta.b, "b")?,
        shape: [experts, shape[D - 2], shape[D - 1]],
        rank: adapter.rank(),
    })
}
