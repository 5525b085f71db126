//! What the rules look at, as the files have it: names are those of the files.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::Dtype;
use serde_json::Value;

use crate::checkpoint::dialect::projection;
use crate::checkpoint::files::Files;
use crate::checkpoint::{CheckpointForm, tensor_specs};
use crate::config::GptOssConfig;

/// How experts are stored, and whose names tensors have: what engines tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checkpoint::validate) enum Family {
    Mxfp4,
    Bf16,
    ModelOpt,
    Compressed,
    PerExpert,
    Original,
    Adapter,
}

/// A checkpoint directory from outside.
pub(in crate::checkpoint::validate) struct Facts {
    pub family: Option<Family>,
    /// Element types and shapes by name.
    pub tensors: BTreeMap<String, (Dtype, Vec<usize>)>,
    /// Whether every `_scales` follows its `_blocks`, with no other `_blocks` between.
    pub blocks_come_first: bool,
    pub config: Value,
    /// The parsed configuration.
    pub architecture: Option<GptOssConfig>,
    /// Whether there is a `model.safetensors`.
    pub single: bool,
    /// Names of other files of weights.
    pub others: Vec<String>,
    pub index: Option<Value>,
}

impl Facts {
    pub fn of_directory(dir: &Path, files: Option<&Files>, config: Option<Value>) -> Self {
        let mut tensors = BTreeMap::new();
        // All that the files hold: not every engine asks the index which of them count.
        for file in files.into_iter().flat_map(|(files, _)| files) {
            for (name, info) in file.metadata.tensors() {
                tensors.insert(name, (info.dtype, info.shape.clone()));
            }
        }
        let blocks_come_first = files.is_none_or(blocks_come_first);
        let index = std::fs::read_to_string(dir.join("model.safetensors.index.json"));
        let index = index.ok().and_then(|text| serde_json::from_str(&text).ok());
        let config = config.unwrap_or(Value::Null);
        Self {
            family: family(&tensors),
            blocks_come_first,
            architecture: GptOssConfig::from_json(&config.to_string()).ok(),
            config,
            single: dir.join("model.safetensors").exists(),
            others: other_files(dir),
            index,
            tensors,
        }
    }

    /// Names that the published forms have for the tensors that no form packs, and that are not there.
    pub fn missing(&self) -> Vec<String> {
        let Some(config) = &self.architecture else {
            return Vec::new();
        };
        let mut missing = Vec::new();
        for spec in tensor_specs(config) {
            let has = |suffix: &str| self.tensors.contains_key(&format!("{}{suffix}", spec.name));
            let packed = ["_blocks", "_scales"].map(has);
            match (has(""), packed) {
                (true, _) | (_, [true, true]) => {}
                (false, [true, false]) => missing.push(format!("{}_scales", spec.name)),
                (false, [false, true]) => missing.push(format!("{}_blocks", spec.name)),
                (false, [false, false]) => missing.push(spec.name),
            }
        }
        missing
    }

    /// Tensors of another shape than the configuration calls for, with both shapes.
    pub fn misshapen(&self) -> Vec<(String, Vec<usize>, Vec<usize>)> {
        let (Some(config), Some(form)) = (&self.architecture, self.form()) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for spec in tensor_specs(config) {
            for stored in form.stored(&spec).unwrap_or_default() {
                if let Some((_, shape)) = self.tensors.get(&stored.name)
                    && !stored.has_shape(shape, config.num_local_experts)
                {
                    found.push((stored.name, stored.shape, shape.clone()));
                }
            }
        }
        found
    }

    fn form(&self) -> Option<CheckpointForm> {
        match self.family? {
            Family::Mxfp4 => Some(CheckpointForm::Mxfp4),
            Family::Bf16 => Some(CheckpointForm::Bf16),
            Family::ModelOpt => Some(CheckpointForm::Nvfp4),
            _ => None,
        }
    }

    /// Names that the published forms do not have.
    pub fn unknown(&self) -> Vec<String> {
        let Some(config) = &self.architecture else {
            return Vec::new();
        };
        let specs = tensor_specs(config);
        let suffixes = [
            "",
            "_blocks",
            "_scales",
            "_weight_scale",
            "_weight_scale_2",
            "_input_scale",
        ];
        let is_known = |name: &&String| {
            let is = |spec: &crate::checkpoint::TensorSpec| {
                let rest = name.strip_prefix(spec.name.as_str());
                rest.is_some_and(|rest| suffixes.contains(&rest))
            };
            specs.iter().any(is)
        };
        let unknown = self.tensors.keys().filter(|name| !is_known(name));
        unknown.cloned().collect()
    }

    /// A value of config.json by its path.
    pub fn key(&self, path: &[&str]) -> Option<&Value> {
        let mut value = &self.config;
        for key in path {
            value = value.get(key)?;
        }
        Some(value).filter(|value| !value.is_null())
    }
}

/// Whether scales can be paired with the codes before them, file by file.
fn blocks_come_first((files, _): &Files) -> bool {
    let mut files: Vec<_> = files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut last = None;
    for file in files {
        let mut tensors: Vec<_> = file.metadata.tensors().into_iter().collect();
        tensors.sort_by_key(|(_, info)| info.data_offsets.0);
        for (name, _) in tensors {
            if let Some(matrix) = name.strip_suffix("_blocks") {
                last = Some(matrix.to_owned());
            } else if let Some(matrix) = name.strip_suffix("_scales")
                && last.as_deref() != Some(matrix)
            {
                return false;
            }
        }
    }
    true
}

fn family(tensors: &BTreeMap<String, (Dtype, Vec<usize>)>) -> Option<Family> {
    let any = |is: &dyn Fn(&str) -> bool| tensors.keys().any(|name| is(name));
    if any(&|name| name.contains(".lora_A.")) {
        return Some(Family::Adapter);
    }
    if any(&|name| name.starts_with("block.")) {
        return Some(Family::Original);
    }
    if any(&|name| name.ends_with(".weight_packed")) {
        return Some(Family::Compressed);
    }
    if any(&|name| projection::Name::parse(name).is_some()) {
        return Some(Family::PerExpert);
    }
    if any(&|name| name.ends_with("gate_up_proj_blocks")) {
        return Some(Family::Mxfp4);
    }
    if any(&|name| name.ends_with("gate_up_proj_weight_scale")) {
        return Some(Family::ModelOpt);
    }
    any(&|name| name.ends_with("experts.gate_up_proj")).then_some(Family::Bf16)
}

fn other_files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_other = |name: &String| name.ends_with(".safetensors") && name != "model.safetensors";
    let mut names: Vec<String> = names.filter(is_other).collect();
    names.sort();
    names
}
