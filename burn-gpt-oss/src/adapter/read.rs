//! From files to factors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use super::factors::PeftFactors;
use super::names::{Target, is_base, target, tensors};
use super::{AdapterCheckpoint, AdapterSettings, Factors, config_file};
use crate::checkpoint::{MappedFile, TensorSpec, decode, tensor_specs};
use crate::config::GptOssConfig;
use crate::error::GptOssError;

/// Name of the file of factors.
pub(super) const FILE: &str = "adapter_model.safetensors";

impl AdapterCheckpoint {
    /// Reads what PEFT saved, or [`save`](Self::save): `adapter_config.json` and `adapter_model.safetensors`, of
    /// a model of this architecture.
    ///
    /// Files of version pairs that swap inputs and outputs of expert matrices (PEFT from 0.19 with transformers
    /// before 5) are recognized by the width of `gate_up_proj`.
    ///
    /// # Errors
    /// A missing or malformed file, a kind of adapter that is not plain LoRA, tensors that are not those of this
    /// model, and factors that are not finite, by name.
    pub fn open(dir: impl AsRef<Path>, config: &GptOssConfig) -> Result<Self, GptOssError> {
        let dir = dir.as_ref();
        let file_config = config_file::read(dir)?;
        let path = dir.join(FILE);
        if !path.exists() {
            let hint =
                "adapters in other formats (.bin) are not read; save it with safetensors".into();
            return Err(GptOssError::MissingFile { path, hint });
        }
        let mut files = Files {
            file: MappedFile::open(&path)?,
            path,
            used: BTreeSet::new(),
            settings: &file_config.settings,
            target_parameters: &file_config.target_parameters,
            swapped: false,
        };
        let specs = tensor_specs(config);
        files.swapped = files.axes_are_swapped(&specs);
        let mut factors = BTreeMap::new();
        for spec in &specs {
            if let Some(found) = files.factors(spec)? {
                found.check_finite(&spec.path)?;
                factors.insert(spec.path.clone(), found);
            }
        }
        files.check_unused(factors.is_empty())?;
        files.file.check_unchanged()?;
        Ok(Self {
            settings: file_config.settings,
            factors,
        })
    }
}

/// An opened file of factors.
struct Files<'a> {
    file: MappedFile,
    path: PathBuf,
    /// Names of the tensors that belong to a parameter.
    used: BTreeSet<String>,
    settings: &'a AdapterSettings,
    target_parameters: &'a [String],
    /// Whether inputs and outputs of expert matrices are swapped.
    swapped: bool,
}

impl Files<'_> {
    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.file.metadata.info(name)
    }

    /// The lengths that tell matrices apart: the width of `lora_A` and the height of `lora_B`.
    fn sides(&self, [a, b]: &[String; 2]) -> Option<[usize; 2]> {
        let width = self.info(a)?.shape.get(1)?;
        let height = self.info(b)?.shape.first()?;
        Some([*width, *height])
    }

    /// The first `gate_up_proj` that fits one way alone decides for the file: `down_proj` may be square.
    fn axes_are_swapped(&self, specs: &[TensorSpec]) -> bool {
        let experts = specs
            .iter()
            .filter(|spec| target(spec) == Some(Target::GateUp));
        experts
            .flat_map(|spec| {
                [true, false].map(|nested| {
                    let sides = self.sides(&tensors(spec, Target::GateUp, nested))?;
                    let own = [spec.shape[1], spec.shape[2]];
                    Some(sides != own && sides == [own[1], own[0]])
                })
            })
            .flatten()
            .any(|swapped| swapped)
    }

    fn factors(&mut self, spec: &TensorSpec) -> Result<Option<Factors>, GptOssError> {
        let Some(target) = target(spec) else {
            return Ok(None);
        };
        let Some(names) = self.names(spec, target) else {
            return Ok(None);
        };
        let mut lengths = match spec.shape.as_slice() {
            [d_input, d_output] => [1, *d_input, *d_output],
            [experts, d_input, d_output] => [*experts, *d_input, *d_output],
            _ => return Ok(None),
        };
        let swapped = self.swapped && matches!(target, Target::GateUp | Target::Down);
        if swapped {
            lengths.swap(1, 2);
        }
        let [experts, width, height] = lengths;
        // No file is that large.
        let inner = self.settings.rank.saturating_mul(experts);
        let [a, b] = names;
        let peft = PeftFactors {
            a: self.values(&a, [inner, width])?,
            b: self.values(&b, [height, inner])?,
        };
        self.used.extend([a, b]);
        let rank = self.settings.rank;
        Ok(Some(match swapped {
            true => Factors::from_swapped(&peft, [experts, height, width], rank),
            false => Factors::from_peft(&peft, lengths, rank),
        }))
    }

    /// The names of the factors of a parameter, if the file has them.
    fn names(&self, spec: &TensorSpec, target: Target) -> Option<[String; 2]> {
        let present = |names: &[String; 2]| names.iter().any(|name| self.info(name).is_some());
        let outer = tensors(spec, target, false);
        let inner = tensors(spec, Target::GateUp, true);
        match target {
            Target::GateUp if present(&inner) => Some(inner),
            Target::Down if present(&inner) => present(&outer).then_some(outer),
            // One matrix alone, whichever it is.
            Target::GateUp | Target::Down => {
                (present(&outer) && self.alone(spec, target, &outer)).then_some(outer)
            }
            _ => present(&outer).then_some(outer),
        }
    }

    /// Whether the only adapter of a layer's experts is that of this matrix.
    fn alone(&self, spec: &TensorSpec, target: Target, names: &[String; 2]) -> bool {
        let own = [spec.shape[1], spec.shape[2]];
        let Some(sides) = self.sides(names) else {
            return target == Target::GateUp;
        };
        let fits = sides == own || sides == [own[1], own[0]];
        // Where both matrices have such sides, the configuration says which is meant.
        let listed = |name: &str| {
            let mut parameters = self.target_parameters.iter();
            parameters.any(|parameter| parameter.ends_with(name))
        };
        let (gate_up, down) = (listed("gate_up_proj"), listed("down_proj"));
        match target {
            Target::GateUp => fits && (gate_up || !down),
            _ => fits && (down || !gate_up),
        }
    }

    fn values(&self, name: &str, expected: [usize; 2]) -> Result<Vec<f32>, GptOssError> {
        let Some(info) = self.info(name) else {
            return Err(GptOssError::MissingTensor {
                path: self.path.clone(),
                tensor: name.into(),
                hint: "the other factor is there; save the adapter again".into(),
            });
        };
        if info.shape != expected {
            return Err(GptOssError::Shape {
                path: self.path.clone(),
                tensor: name.into(),
                expected: expected.to_vec(),
                found: info.shape.clone(),
            });
        }
        let dtype: Dtype = info.dtype;
        let (start, end) = info.data_offsets;
        decode(dtype, self.file.bytes(start..end)).ok_or_else(|| GptOssError::Dtype {
            path: self.path.clone(),
            tensor: name.into(),
            expected: "BF16, F16 or F32".into(),
            found: format!("{dtype:?}"),
        })
    }

    /// Fails if there is a tensor that belongs to no parameter, or none that does.
    fn check_unused(&self, empty: bool) -> Result<(), GptOssError> {
        let names = self.file.metadata.tensors().into_keys();
        let unknown = |name: &String| !self.used.contains(name) && !is_base(name);
        let mut unused: Vec<String> = names.filter(unknown).collect();
        unused.sort();
        if unused.is_empty() && !empty {
            return Ok(());
        }
        Err(GptOssError::UnexpectedTensors {
            path: self.path.clone(),
            tensors: unused,
        })
    }
}
