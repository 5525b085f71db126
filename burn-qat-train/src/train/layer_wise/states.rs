//! What the optimizer keeps of all parameters, in memory and in a file.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use burn::tensor::{Bytes, DType, Device, Int, Tensor, TensorData};
use safetensors::tensor::{Dtype, Metadata, View};

use super::offload::{Offload, Offloaded};
use crate::error::QatError;
use crate::train::adamw::FusedAdamW;
use crate::train::{CompactFormat, CompactState};

/// Name of the file in the directory of a state.
pub(in crate::train) const FILE: &str = "optimizer.safetensors";

/// The names of what is stored of a parameter, behind its path.
const PARTS: [&str; 5] = ["remainder", "codes_1", "scales_1", "codes_2", "scales_2"];

/// Moments in float32 that are worth a file of their own have more elements.
const OFFLOADED: usize = 1 << 16;

/// Key of the steps done, in the metadata of the file, before the path.
const TIME: &str = "time:";
const PREVIOUS_NORM: &str = "previous_norm";

/// What the optimizer keeps, by module path; and the norm of the last gradients.
#[derive(Debug, Default)]
pub(in crate::train) struct States {
    of: BTreeMap<String, Kept>,
    pub previous_norm: Option<f32>,
    /// Where moments of matrices are between two steps, if not in memory.
    offload: Option<Offload>,
}

#[derive(Debug)]
struct Kept {
    state: CompactState,
    /// The moments, if they are not in `state`.
    offloaded: Option<Offloaded>,
}

impl States {
    /// The state of a parameter, which is to be put back.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn take(&mut self, path: &str, device: &Device) -> io::Result<Option<CompactState>> {
        let Some(Kept { state, offloaded }) = self.of.remove(path) else {
            return Ok(None);
        };
        match offloaded {
            Some(offloaded) => offloaded.read(state, device).map(Some),
            None => Ok(Some(state)),
        }
    }

    /// # Errors
    /// A file that cannot be written.
    pub fn put(&mut self, path: &str, state: CompactState) -> io::Result<()> {
        let is_large = state.codes_1.dims()[0] > 0 || state.scales_1.dims()[0] > OFFLOADED;
        let kept = match &self.offload {
            Some(offload) if is_large => {
                let (state, offloaded) = offload.write(path, state)?;
                Kept {
                    state,
                    offloaded: Some(offloaded),
                }
            }
            _ => Kept {
                state,
                offloaded: None,
            },
        };
        self.of.insert(path.into(), kept);
        Ok(())
    }

    /// Nothing yet; moments go where `offload` says.
    pub fn new(offload: Option<Offload>) -> Self {
        Self {
            offload,
            ..Self::default()
        }
    }

    /// Writes all of it into a file, one tensor after the other.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        let mut metadata = HashMap::new();
        let failure = RefCell::new(None);
        let mut views = Vec::new();
        for (name, kept) in &self.of {
            metadata.insert(format!("{TIME}{name}"), kept.state.time.to_string());
            let parts = parts(name, kept, &failure);
            views.extend(parts.into_iter().filter(|(_, part)| part.n > 0));
        }
        if let Some(norm) = self.previous_norm {
            metadata.insert(PREVIOUS_NORM.into(), norm.to_bits().to_string());
        }
        let written = safetensors::serialize_to_file(views, Some(metadata), path);
        match failure.into_inner() {
            Some(error) => Err(error),
            None => written.map_err(|error| error.to_string()),
        }
    }

    /// Reads such a file, for the parameters of a module with what is kept of each before the first step. `offload` takes
    /// moments away as they are read.
    ///
    /// # Errors
    /// [`QatError::Resume`] for one that is damaged, or of other parameters.
    pub fn load(
        path: &Path,
        beginning: &[(String, CompactFormat, usize)],
        offload: Option<Offload>,
        device: &Device,
    ) -> Result<Self, QatError> {
        let damaged = |error: &dyn std::fmt::Display| QatError::Resume {
            path: path.to_path_buf(),
            message: format!("cannot be read: {error}; begin a new run"),
        };
        let mut file = File::open(path).map_err(QatError::io(path, "open"))?;
        let (start, header) = header(&mut file).map_err(|error| damaged(&error))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let mut states = Self {
            offload,
            ..Self::default()
        };
        if let Some(bits) = metadata.get(PREVIOUS_NORM) {
            let norm = f32::from_bits(bits.parse().map_err(|error| damaged(&error))?);
            if !(norm.is_finite() && norm >= 0.0) {
                return Err(damaged(&format!("{PREVIOUS_NORM} is {norm}")));
            }
            states.previous_norm = Some(norm);
        }
        let known = |key: &str| {
            beginning
                .iter()
                .any(|(name, ..)| Some(name.as_str()) == key.strip_prefix(TIME))
        };
        if let Some(other) = metadata
            .keys()
            .find(|key| key.starts_with(TIME) && !known(key))
        {
            return Err(damaged(&format!("{other} is no parameter that trains")));
        }
        for (name, format, n) in beginning {
            // A parameter without a gradient so far has no state.
            let Some(time) = metadata.get(&format!("{TIME}{name}")) else {
                continue;
            };
            let time: u32 = time.parse().map_err(|error| damaged(&error))?;
            let empty = CompactState::zeros(*format, *n, device);
            let read = |part: usize, kind: (DType, usize)| {
                let name = format!("{name}.{}", PARTS[part]);
                part_of(&file, start, &header, &name, kind).map_err(|error| damaged(&error))
            };
            let ints = |part, like: &Tensor<1, Int>| -> Result<_, QatError> {
                let kind = (like.dtype(), like.dims()[0]);
                Ok(int(read(part, kind)?, kind.0, device))
            };
            let floats = |part, like: &Tensor<1>| -> Result<_, QatError> {
                let kind = (like.dtype(), like.dims()[0]);
                Ok(float(read(part, kind)?, kind.0, device))
            };
            let state = CompactState {
                time: time as usize,
                remainder: ints(0, &empty.remainder)?,
                codes_1: ints(1, &empty.codes_1)?,
                scales_1: floats(2, &empty.scales_1)?,
                codes_2: ints(3, &empty.codes_2)?,
                scales_2: floats(4, &empty.scales_2)?,
            };
            states
                .put(name, state)
                .map_err(QatError::io(path, "offload"))?;
        }
        Ok(states)
    }
}

/// Bytes of the largest header that is read.
const LARGEST_HEADER: u64 = 100 << 20;

/// The header of a file, and where the tensors begin.
fn header(file: &mut File) -> Result<(u64, Metadata), String> {
    let text = |error: io::Error| error.to_string();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(text)?;
    let (length, all) = (
        u64::from_le_bytes(length),
        file.metadata().map_err(text)?.len(),
    );
    if length > LARGEST_HEADER.min(all.saturating_sub(8)) {
        return Err(format!("a header of {length} bytes in a file of {all}"));
    }
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).map_err(text)?;
    let header: Metadata = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let expected = 8 + length + header.data_len() as u64;
    match expected == all {
        true => Ok((8 + length, header)),
        false => Err(format!("{expected} bytes by its header, {all} are there")),
    }
}

/// The bytes of a part of a state, as the state before the first step has it: none of one that is empty.
fn part_of(
    mut file: &File,
    start: u64,
    header: &Metadata,
    name: &str,
    (dtype, n): (DType, usize),
) -> Result<Vec<u8>, String> {
    let Some(info) = header.info(name) else {
        return match n {
            0 => Ok(Vec::new()),
            _ => Err(format!("tensor {name} is missing")),
        };
    };
    let (begin, end) = info.data_offsets;
    if stored(dtype) != info.dtype || end - begin != n * dtype.size() {
        return Err(format!(
            "tensor {name} has {} bytes in {:?}, expected {n} elements in {dtype:?}",
            end - begin,
            info.dtype
        ));
    }
    let mut bytes = vec![0; end - begin];
    let place = SeekFrom::Start(start + begin as u64);
    let read = file.seek(place).and_then(|_| file.read_exact(&mut bytes));
    match read {
        Ok(()) => Ok(bytes),
        Err(error) => Err(format!("tensor {name}: {error}")),
    }
}

/// The type of a tensor in the file.
fn stored(dtype: DType) -> Dtype {
    match dtype {
        DType::U8 => Dtype::U8,
        DType::U16 => Dtype::U16,
        DType::BF16 => Dtype::BF16,
        _ => Dtype::F32,
    }
}

fn int(bytes: Vec<u8>, dtype: DType, device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(data(bytes, dtype), (device, dtype))
}

fn float(bytes: Vec<u8>, dtype: DType, device: &Device) -> Tensor<1> {
    Tensor::from_data(data(bytes, dtype), (device, dtype))
}

fn data(bytes: Vec<u8>, dtype: DType) -> TensorData {
    let n = bytes.len() / dtype.size();
    TensorData::from_bytes(Bytes::from_bytes_vec(bytes), [n], dtype)
}

/// A tensor that is fetched when it is written.
struct Part<'a> {
    fetch: Box<dyn Fn() -> io::Result<TensorData> + 'a>,
    /// Where it is said that it could not be fetched: a view cannot.
    failure: &'a RefCell<Option<String>>,
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
        match (self.fetch)() {
            Ok(data) => Cow::Owned(data.bytes().to_vec()),
            Err(error) => {
                self.failure.replace(Some(error.to_string()));
                Cow::Owned(vec![0; self.data_len()])
            }
        }
    }

    fn data_len(&self) -> usize {
        self.n * self.size
    }
}

fn parts<'a>(
    name: &str,
    kept: &'a Kept,
    failure: &'a RefCell<Option<String>>,
) -> Vec<(String, Part<'a>)> {
    let state = &kept.state;
    let of_file = |part: usize| {
        let offloaded = kept.offloaded.as_ref()?;
        let fetch: Fetch<'a> = Box::new(move || offloaded.part(part));
        Some((offloaded.kind(part), fetch))
    };
    let int = |tensor: &'a Tensor<1, Int>| -> ((DType, usize), Fetch<'a>) {
        let kind = (tensor.dtype(), tensor.dims()[0]);
        (kind, Box::new(move || Ok(tensor.to_data())))
    };
    let float = |tensor: &'a Tensor<1>| -> ((DType, usize), Fetch<'a>) {
        let kind = (tensor.dtype(), tensor.dims()[0]);
        (kind, Box::new(move || Ok(tensor.to_data())))
    };
    let parts = [
        int(&state.remainder),
        of_file(0).unwrap_or_else(|| int(&state.codes_1)),
        of_file(1).unwrap_or_else(|| float(&state.scales_1)),
        of_file(2).unwrap_or_else(|| int(&state.codes_2)),
        of_file(3).unwrap_or_else(|| float(&state.scales_2)),
    ];
    let part = |((dtype, n), fetch): ((DType, usize), Fetch<'a>)| Part {
        fetch,
        failure,
        dtype: stored(dtype),
        size: dtype.size(),
        n,
        shape: [n],
    };
    let named = PARTS.iter().zip(parts);
    named
        .map(|(part_name, parts)| (format!("{name}.{part_name}"), part(parts)))
        .collect()
}

type Fetch<'a> = Box<dyn Fn() -> io::Result<TensorData> + 'a>;

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
