//! A tensor for each expert: gathered into one for all of them.

mod scales;

use std::collections::BTreeMap;
use std::path::Path;

use burn_fp4::layout::compressed_tensors as packed;
use safetensors::Dtype;

use super::Located;
use super::projection::{Matrix, Name, Rows};
use crate::checkpoint::located::{Extent, Gathered, Place};
use crate::checkpoint::mapped::MappedFile;
use crate::config::GptOssConfig;
use crate::error::GptOssError;

/// Parts that are read. Others keep their names.
const PARTS: [&str; 6] = [
    "weight",
    "bias",
    packed::WEIGHT_PACKED,
    packed::WEIGHT_SCALE,
    packed::WEIGHT_GLOBAL_SCALE,
    packed::INPUT_GLOBAL_SCALE,
];

/// The tensors of one part of a matrix, by expert and rows, with their names.
type Group = BTreeMap<(usize, Rows), (String, Located)>;

/// The tensors of such a directory under the names of the published checkpoints.
pub(super) fn locate(
    config: &GptOssConfig,
    found: BTreeMap<String, Located>,
    files: &[MappedFile],
    dir: &Path,
) -> Result<BTreeMap<String, Located>, GptOssError> {
    let (mut located, mut groups) = (BTreeMap::new(), BTreeMap::new());
    for (name, tensor) in found {
        match Name::parse(&name).filter(|name| PARTS.contains(&name.part)) {
            Some(of) => {
                let key = (of.layer, of.matrix, of.part.to_owned());
                let group: &mut Group = groups.entry(key).or_default();
                if let Some((other, _)) = group.insert((of.expert, of.rows), (name.clone(), tensor))
                {
                    return Err(twice(dir, [other, name]));
                }
            }
            None => {
                // Unsloth wraps the router in a module.
                let ours = name.replace(".mlp.router.linear.", ".mlp.router.");
                if located.insert(ours.clone(), tensor).is_some() {
                    return Err(twice(dir, [ours, name]));
                }
            }
        }
    }
    let gather = Gather { config, files };
    for ((layer, matrix, part), group) in &groups {
        let is_nvfp4 = {
            let scales = (*layer, *matrix, packed::WEIGHT_SCALE.to_owned());
            let scales = groups.get(&scales).and_then(|group| group.values().next());
            scales.is_some_and(|(_, scale)| scale.dtype == Dtype::F8_E4M3)
        };
        let name = matrix.name(*layer);
        let (suffix, tensor) = gather.part(*matrix, part, is_nvfp4, group)?;
        let name = format!("{name}{suffix}");
        if located.insert(name.clone(), tensor).is_some() {
            let first = group.values().next().map_or("", |(name, _)| name);
            return Err(twice(dir, [name, first.to_owned()]));
        }
    }
    Ok(located)
}

struct Gather<'a> {
    config: &'a GptOssConfig,
    files: &'a [MappedFile],
}

impl Gather<'_> {
    /// What is behind the name of the matrix, and the tensor of all experts.
    fn part(
        &self,
        matrix: Matrix,
        part: &str,
        is_nvfp4: bool,
        group: &Group,
    ) -> Result<(&'static str, Located), GptOssError> {
        let (parts, first) = self.all(matrix, group)?;
        let sides = parts[0].len();
        let experts = parts.len();
        let element = first.dtype.bitsize() / 8;
        let (rows, columns) = match (first.shape.as_slice(), part) {
            ([rows], "bias") => (rows * sides, 1),
            (_, packed::WEIGHT_GLOBAL_SCALE | packed::INPUT_GLOBAL_SCALE) => (0, 0),
            ([rows, columns], part)
                if part != "bias" && (part != packed::WEIGHT_PACKED || columns % 16 == 0) =>
            {
                (rows * sides, *columns)
            }
            (found, _) => {
                let (name, _) = group.values().next().ok_or_else(|| self.empty())?;
                return Err(GptOssError::Shape {
                    path: self.path(first),
                    tensor: name.clone(),
                    expected: if part == "bias" { vec![0] } else { vec![0, 32] },
                    found: found.to_vec(),
                });
            }
        };
        let gathered = |shape: Vec<usize>, turned| Located {
            dtype: first.dtype,
            shape,
            place: Place::Gathered(Gathered {
                parts,
                row_bytes: columns * element,
                turned,
            }),
        };
        Ok(match part {
            "weight" => ("", gathered(vec![experts, columns, rows], Some(element))),
            "bias" => ("_bias", gathered(vec![experts, rows], None)),
            packed::WEIGHT_PACKED if is_nvfp4 => {
                ("", gathered(vec![experts, columns, rows], Some(1)))
            }
            packed::WEIGHT_PACKED => {
                let shape = vec![experts, rows, columns / 16, 16];
                ("_blocks", gathered(shape, None))
            }
            packed::WEIGHT_SCALE if is_nvfp4 => {
                let shape = vec![experts, columns, rows];
                ("_weight_scale", gathered(shape, Some(1)))
            }
            packed::WEIGHT_SCALE => ("_scales", gathered(vec![experts, rows, columns], None)),
            packed::WEIGHT_GLOBAL_SCALE => ("_weight_scale_2", self.global(group, false)?),
            _ => ("_input_scale", self.global(group, true)?),
        })
    }

    /// The ranges of all experts, and the tensor that all others are like.
    fn all<'g>(
        &self,
        matrix: Matrix,
        group: &'g Group,
    ) -> Result<(Vec<Vec<Extent>>, &'g Located), GptOssError> {
        let whole = group.keys().any(|(_, rows)| *rows == Rows::All);
        let sides: &[Rows] = match matrix {
            Matrix::GateUp if !whole => &[Rows::Gate, Rows::Up],
            _ => &[Rows::All],
        };
        let (model, first) = group.values().next().ok_or_else(|| self.empty())?;
        let mut parts = Vec::with_capacity(self.config.num_local_experts);
        for expert in 0..self.config.num_local_experts {
            let mut of_expert = Vec::with_capacity(sides.len());
            for rows in sides {
                let Some((name, tensor)) = group.get(&(expert, *rows)) else {
                    return Err(self.missing(model, expert, *rows));
                };
                self.check_alike(name, tensor, first)?;
                of_expert.extend(tensor.extents().cloned());
            }
            parts.push(of_expert);
        }
        match group.len() == parts.len() * sides.len() {
            true => Ok((parts, first)),
            false => Err(GptOssError::UnexpectedTensors {
                path: self.path(first),
                tensors: self.surplus(group),
            }),
        }
    }

    fn check_alike(
        &self,
        name: &str,
        tensor: &Located,
        first: &Located,
    ) -> Result<(), GptOssError> {
        if tensor.shape != first.shape {
            return Err(GptOssError::Shape {
                path: self.path(tensor),
                tensor: name.into(),
                expected: first.shape.clone(),
                found: tensor.shape.clone(),
            });
        }
        if tensor.dtype != first.dtype {
            return Err(GptOssError::Dtype {
                path: self.path(tensor),
                tensor: name.into(),
                expected: format!("{:?}, as the other experts", first.dtype),
                found: format!("{:?}", tensor.dtype),
            });
        }
        Ok(())
    }

    fn path(&self, tensor: &Located) -> std::path::PathBuf {
        let file = tensor.file().and_then(|file| self.files.get(file));
        file.map(|file| file.path.clone()).unwrap_or_default()
    }

    fn empty(&self) -> GptOssError {
        GptOssError::UnexpectedTensors {
            path: Default::default(),
            tensors: Vec::new(),
        }
    }

    fn missing(&self, model: &str, expert: usize, rows: Rows) -> GptOssError {
        let rows = match rows {
            Rows::All => "",
            Rows::Gate => " (gate)",
            Rows::Up => " (up)",
        };
        GptOssError::MissingTensor {
            path: self
                .files
                .first()
                .map(|file| file.path.clone())
                .unwrap_or_default(),
            tensor: format!("that of expert {expert}{rows} beside {model}"),
            hint: format!(
                "config.json calls for {} experts in each layer; the checkpoint is incomplete",
                self.config.num_local_experts
            ),
        }
    }

    fn surplus(&self, group: &Group) -> Vec<String> {
        let limit = self.config.num_local_experts;
        let mixed = group.keys().any(|(_, rows)| *rows == Rows::All);
        let surplus =
            |(expert, rows): &(usize, Rows)| *expert >= limit || (mixed && *rows != Rows::All);
        let surplus = group.iter().filter(|(key, _)| surplus(key));
        surplus.map(|(_, (name, _))| name.clone()).collect()
    }
}

/// Two tensors for the same place.
pub(super) fn twice(dir: &Path, tensors: [String; 2]) -> GptOssError {
    GptOssError::UnexpectedTensors {
        path: dir.to_path_buf(),
        tensors: tensors.into(),
    }
}
