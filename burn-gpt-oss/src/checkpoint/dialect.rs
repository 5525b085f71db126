//! Whose names the tensors of a directory have. Everything else in this crate knows those of the published
//! checkpoints alone: here the others become these.

pub(super) mod original;
mod per_expert;
pub(super) mod projection;

use std::collections::BTreeMap;
use std::path::Path;

use super::files::Files;
use super::foreign;
use super::located::Located;
use crate::config::GptOssConfig;
use crate::error::GptOssError;

/// Names and arrangement of the tensors of a checkpoint, whatever its element types are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Those of transformers and of the published checkpoints: experts in one tensor.
    Transformers,
    /// Those of OpenAI's `original/` folder: `block.N.attn.qkv.weight`, queries, keys and values in one tensor.
    Original,
    /// A tensor for each expert, `experts.E.gate_proj`, `up_proj`, `down_proj`, as llm-compressor and
    /// compressed-tensors have it, or `experts.gate_up_projs.E`, `down_projs.E`, as Unsloth does.
    PerExpert,
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Transformers => "names of the published checkpoints",
            Self::Original => "OpenAI's names (block.N.attn.qkv)",
            Self::PerExpert => "one tensor per expert (experts.E.gate_proj and the like)",
        })
    }
}

impl Dialect {
    /// Whose names these are.
    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut dialect = Self::Transformers;
        for name in names {
            if original::is_name(name) {
                return Self::Original;
            }
            if projection::Name::parse(name).is_some() {
                dialect = Self::PerExpert;
            }
        }
        dialect
    }
}

/// All tensors of the files under the names of the published checkpoints. A tensor that has no place there keeps its
/// own name.
///
/// # Errors
/// Layouts that are not read, and tensors of experts that do not fit together.
pub(super) fn locate(
    dir: &Path,
    config: &GptOssConfig,
    files: &Files,
) -> Result<(Dialect, BTreeMap<String, Located>), GptOssError> {
    foreign::refuse(dir, files)?;
    let (mapped, locations) = files;
    let mut tensors = BTreeMap::new();
    for (name, file) in locations {
        if let Some(info) = mapped[*file].metadata.info(name) {
            tensors.insert(name.clone(), Located::in_file(*file, info));
        }
    }
    let dialect = Dialect::of(locations.keys().map(String::as_str));
    let tensors = match dialect {
        Dialect::Transformers => tensors,
        Dialect::Original => original::locate(config, tensors, dir)?,
        Dialect::PerExpert => per_expert::locate(config, tensors, mapped, dir)?,
    };
    Ok((dialect, tensors))
}
