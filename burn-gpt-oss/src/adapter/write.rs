//! From factors to files.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::names::{PREFIX, Target, short_name, target, tensors};
use super::{AdapterCheckpoint, Factors, config_file, read};
use crate::checkpoint::{OutputDirectory, TensorSpec, tensor_specs};
use crate::config::GptOssConfig;
use crate::error::GptOssError;

/// How the adapters of experts are laid out in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdapterDialect {
    /// As PEFT does: two tensors for all experts. PEFT and vLLM read it.
    #[default]
    Peft,
    /// Two tensors for every expert and each of `gate_proj`, `up_proj` and `down_proj`. SGLang reads it.
    PerExpert,
}

/// Name, shape and bytes of a tensor.
type Written = (String, [usize; 2], Vec<u8>);

impl AdapterCheckpoint {
    /// Writes `adapter_config.json` and `adapter_model.safetensors`, float32. The directory appears as a whole.
    ///
    /// # Errors
    /// [`GptOssError::OutputExists`] without `overwrite`, factors that are not finite or belong to no parameter
    /// of the model, and errors of the file system.
    pub fn save(
        &self,
        dir: impl AsRef<Path>,
        config: &GptOssConfig,
        dialect: AdapterDialect,
        overwrite: bool,
    ) -> Result<(), GptOssError> {
        let output = OutputDirectory::create(dir, overwrite)?;
        self.write_to(output.path(), config, dialect)?;
        output.commit()
    }

    /// [`save`](Self::save) into a directory that exists.
    ///
    /// # Errors
    /// Those of `save`, but for the directory.
    pub fn write_to(
        &self,
        dir: &Path,
        config: &GptOssConfig,
        dialect: AdapterDialect,
    ) -> Result<(), GptOssError> {
        let specs = tensor_specs(config);
        let mut written: Vec<Written> = Vec::new();
        let mut targets = Targets::default();
        for (path, factors) in &self.factors {
            factors.check_finite(path)?;
            let spec = specs.iter().find(|spec| spec.path == *path);
            let (spec, target) = spec
                .and_then(|spec| Some((spec, target(spec)?)))
                .ok_or_else(|| GptOssError::Unsupported {
                    what: format!("an adapter of `{path}`"),
                    hint: "adapters belong to linear layers, the embedding and expert matrices"
                        .into(),
                })?;
            targets.add(spec, target);
            written.extend(match (dialect, target) {
                (AdapterDialect::PerExpert, Target::GateUp | Target::Down) => {
                    per_expert(spec, target, factors)
                }
                _ => self.peft(spec, target, factors),
            });
        }
        let path = dir.join(read::FILE);
        serialize(&path, &written)?;
        let text = targets.config(self, config.num_hidden_layers, dialect);
        let path = dir.join(config_file::FILE);
        std::fs::write(&path, text).map_err(GptOssError::io(&path, "write"))
    }

    fn peft(&self, spec: &TensorSpec, target: Target, factors: &Factors) -> Vec<Written> {
        let other = spec.path.replace("gate_up_proj", "down_proj");
        let nested = target == Target::GateUp && self.factors.contains_key(&other);
        let names = tensors(spec, target, nested);
        let [experts, d_input, d_output] = factors.shape;
        let inner = factors.rank * experts;
        let peft = factors.to_peft();
        let shapes = [[inner, d_input], [d_output, inner]];
        let values = [peft.a, peft.b];
        let tensors = names.into_iter().zip(shapes).zip(values);
        tensors
            .map(|((name, shape), values)| (name, shape, little_endian(&values)))
            .collect()
    }
}

/// `w1` and `w3` share `lora_A`; gate and up are the even and the odd outputs.
fn per_expert(spec: &TensorSpec, target: Target, factors: &Factors) -> Vec<Written> {
    let [experts, d_input, d_output] = factors.shape;
    let rank = factors.rank;
    let module = spec.name.rsplit_once('.').map_or("", |(module, _)| module);
    let parts: &[(&str, usize, usize)] = match target {
        Target::GateUp => &[("gate_proj", 0, 2), ("up_proj", 1, 2)],
        _ => &[("down_proj", 0, 1)],
    };
    let mut written = Vec::new();
    for expert in 0..experts {
        let a = &factors.a[expert * d_input * rank..][..d_input * rank];
        let b = &factors.b[expert * rank * d_output..][..rank * d_output];
        let rows: Vec<f32> = (0..rank)
            .flat_map(|k| (0..d_input).map(move |i| a[i * rank + k]))
            .collect();
        for &(part, first, step) in parts {
            let outputs: Vec<usize> = (first..d_output).step_by(step).collect();
            let columns: Vec<f32> = outputs
                .iter()
                .flat_map(|o| (0..rank).map(move |k| b[k * d_output + o]))
                .collect();
            let name =
                |factor: &str| format!("{PREFIX}{module}.{expert}.{part}.lora_{factor}.weight");
            written.push((name("A"), [rank, d_input], little_endian(&rows)));
            written.push((name("B"), [outputs.len(), rank], little_endian(&columns)));
        }
    }
    written
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn serialize(path: &Path, tensors: &[Written]) -> Result<(), GptOssError> {
    let failed = |error: safetensors::SafeTensorError| {
        GptOssError::io(path, "write")(std::io::Error::other(error.to_string()))
    };
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes)?;
        Ok((name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(failed)
}

/// What the configuration lists: short names with the paths that have them. PEFT matches both as the end of a path
/// behind a dot.
#[derive(Default)]
struct Targets {
    modules: BTreeMap<String, Vec<String>>,
    parameters: BTreeMap<String, Vec<String>>,
}

impl Targets {
    fn add(&mut self, spec: &TensorSpec, target: Target) {
        let (list, path) = match target {
            Target::Linear | Target::Embedding => {
                (&mut self.modules, spec.path.trim_end_matches(".weight"))
            }
            _ => (&mut self.parameters, spec.path.as_str()),
        };
        let path = path.trim_start_matches("layers.").into();
        list.entry(short_name(spec, target)).or_default().push(path);
    }

    fn config(
        &self,
        adapter: &AdapterCheckpoint,
        n_layers: usize,
        dialect: AdapterDialect,
    ) -> String {
        let mut modules = listed(&self.modules, n_layers);
        let mut parameters = listed(&self.parameters, n_layers);
        if dialect == AdapterDialect::PerExpert {
            let experts = |parameter: &String| parameter.contains("mlp.experts.");
            if parameters.iter().any(experts) {
                modules.extend(["gate_proj", "up_proj", "down_proj"].map(String::from));
            }
            parameters.retain(|parameter| !experts(parameter));
        }
        config_file::write(&adapter.settings, &modules, &parameters)
    }
}

/// The short name of what every layer has, or what belongs to none; else that of each layer.
fn listed(targets: &BTreeMap<String, Vec<String>>, n_layers: usize) -> Vec<String> {
    let mut list = Vec::new();
    for (name, paths) in targets {
        match paths.len() == n_layers || paths.contains(name) {
            true => list.push(name.clone()),
            false => list.extend(paths.iter().cloned()),
        }
    }
    list
}
