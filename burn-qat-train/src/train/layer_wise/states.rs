//! What the optimizer keeps of all parameters, in memory and in a file.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::tensor::{Bytes, DType, Device, Int, Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, View};

use crate::error::QatError;
use crate::train::CompactState;
use crate::train::adamw::FusedAdamW;

/// Name of the file in the directory of a state.
pub(in crate::train) const FILE: &str = "optimizer.safetensors";

/// The names of what is stored of a parameter, behind its path.
const PARTS: [&str; 5] = ["remainder", "codes_1", "scales_1", "codes_2", "scales_2"];

/// Key of the steps done, in the metadata of the file, before the path.
const TIME: &str = "time:";
const PREVIOUS_NORM: &str = "previous_norm";

/// What the optimizer keeps, by module path; and the norm of the last gradients.
#[derive(Debug, Default)]
pub(in crate::train) struct States {
    of: BTreeMap<String, CompactState>,
    pub previous_norm: Option<f32>,
}

impl States {
    pub fn take(&mut self, path: &str) -> Option<CompactState> {
        self.of.remove(path)
    }

    pub fn put(&mut self, path: &str, state: CompactState) {
        self.of.insert(path.into(), state);
    }

    /// Writes all of it into a file, one tensor after the other.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        let mut metadata = HashMap::new();
        let mut views = Vec::new();
        for (name, state) in &self.of {
            metadata.insert(format!("{TIME}{name}"), state.time.to_string());
            views.extend(
                parts(name, state)
                    .into_iter()
                    .filter(|(_, part)| part.n > 0),
            );
        }
        if let Some(norm) = self.previous_norm {
            metadata.insert(PREVIOUS_NORM.into(), norm.to_bits().to_string());
        }
        safetensors::serialize_to_file(views, Some(metadata), path)
            .map_err(|error| error.to_string())
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// [`QatError::Resume`] for one that is damaged.
    pub fn load(path: &Path, device: &Device) -> Result<Self, QatError> {
        let damaged = |error: &dyn std::fmt::Display| QatError::Resume {
            path: path.to_path_buf(),
            message: format!("cannot be read: {error}; begin a new run"),
        };
        let bytes = std::fs::read(path).map_err(QatError::io(path, "read"))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(&error))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(&error))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let mut states = Self::default();
        for (key, value) in &metadata {
            if key == PREVIOUS_NORM {
                let bits = value.parse().map_err(|error| damaged(&error))?;
                states.previous_norm = Some(f32::from_bits(bits));
                continue;
            }
            let Some(name) = key.strip_prefix(TIME) else {
                continue;
            };
            let time = value.parse().map_err(|error| damaged(&error))?;
            let part = |part: &str| read(&file, &format!("{name}.{part}"));
            let (ints, floats) = (
                |name| int(part(name), device),
                |name| float(part(name), device),
            );
            let state = CompactState {
                time,
                remainder: ints(PARTS[0]),
                codes_1: ints(PARTS[1]),
                scales_1: floats(PARTS[2]),
                codes_2: ints(PARTS[3]),
                scales_2: floats(PARTS[4]),
            };
            states.of.insert(name.into(), state);
        }
        Ok(states)
    }
}

/// The bytes of a tensor; none of one that was empty.
fn read(file: &SafeTensors<'_>, name: &str) -> Option<(Vec<u8>, DType)> {
    let view = file.tensor(name).ok()?;
    let dtype = match view.dtype() {
        Dtype::U8 => DType::U8,
        Dtype::U16 => DType::U16,
        Dtype::BF16 => DType::BF16,
        _ => DType::F32,
    };
    Some((view.data().to_vec(), dtype))
}

fn int(part: Option<(Vec<u8>, DType)>, device: &Device) -> Tensor<1, Int> {
    let (bytes, dtype) = part.unwrap_or((Vec::new(), DType::U8));
    Tensor::from_data(data(bytes, dtype), (device, dtype))
}

fn float(part: Option<(Vec<u8>, DType)>, device: &Device) -> Tensor<1> {
    let (bytes, dtype) = part.unwrap_or((Vec::new(), DType::F32));
    Tensor::from_data(data(bytes, dtype), (device, dtype))
}

fn data(bytes: Vec<u8>, dtype: DType) -> TensorData {
    let n = bytes.len() / dtype.size();
    TensorData::from_bytes(Bytes::from_bytes_vec(bytes), [n], dtype)
}

/// A tensor that is fetched when it is written.
struct Part<'a> {
    fetch: Box<dyn Fn() -> TensorData + 'a>,
    dtype: Dtype,
    size: usize,
    n: usize,
    shape: [usize; 1],
}

impl View for Part<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned((self.fetch)().bytes().to_vec())
    }

    fn data_len(&self) -> usize {
        self.n * self.size
    }
}

fn parts<'a>(name: &str, state: &'a CompactState) -> [(String, Part<'a>); 5] {
    let int = |tensor: &'a Tensor<1, Int>| {
        part(tensor.dtype(), tensor.dims()[0], move || tensor.to_data())
    };
    let float =
        |tensor: &'a Tensor<1>| part(tensor.dtype(), tensor.dims()[0], move || tensor.to_data());
    let parts = [
        int(&state.remainder),
        int(&state.codes_1),
        float(&state.scales_1),
        int(&state.codes_2),
        float(&state.scales_2),
    ];
    let mut names = PARTS.iter();
    parts.map(|part| {
        let part_name = names.next().copied().unwrap_or_default();
        (format!("{name}.{part_name}"), part)
    })
}

fn part<'a>(dtype: DType, n: usize, fetch: impl Fn() -> TensorData + 'a) -> Part<'a> {
    Part {
        fetch: Box::new(fetch),
        dtype: match dtype {
            DType::U8 => Dtype::U8,
            DType::U16 => Dtype::U16,
            DType::BF16 => Dtype::BF16,
            _ => Dtype::F32,
        },
        size: dtype.size(),
        n,
        shape: [n],
    }
}

/// Settings of the optimizer by module path.
pub(in crate::train) struct Rules {
    pub rest: FusedAdamW,
    pub of: HashMap<String, FusedAdamW>,
}

impl Rules {
    pub fn of(&self, path: &str) -> &FusedAdamW {
        self.of.get(path).unwrap_or(&self.rest)
    }
}
