//! The header of a GGUF file, read back: to look at what was written, and at what others wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::source::Source;
use super::value::GgufValue;
use crate::error::GptOssError;

/// A GGUF file whose header was read and whose tensors are within the file.
#[derive(Clone, Debug)]
pub struct GgufFile {
    path: PathBuf,
    /// Keys and values.
    pub keys: BTreeMap<String, GgufValue>,
    /// Tensors in the order of the file.
    pub tensors: Vec<GgufTensor>,
}

/// A tensor of a GGUF file.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufTensor {
    /// Its name.
    pub name: String,
    /// Its shape, outermost axis first; the file has the reverse.
    pub shape: Vec<usize>,
    /// The number of its element type in `ggml.h`.
    pub ggml_type: u32,
    /// Where its bytes are in the file.
    pub range: Range<u64>,
}

/// Types of elements that gpt-oss files have: number, elements of a block, its bytes.
const TYPES: [(u32, usize, usize); 17] = [
    (0, 1, 4),
    (1, 1, 2),
    (2, 32, 18),
    (3, 32, 20),
    (6, 32, 22),
    (7, 32, 24),
    (8, 32, 34),
    (10, 256, 84),
    (11, 256, 110),
    (12, 256, 144),
    (13, 256, 176),
    (14, 256, 210),
    (20, 32, 18),
    (23, 256, 136),
    (30, 1, 2),
    (39, 32, 17),
    (40, 64, 36),
];
const MAX_AXES: u32 = 4;

impl GgufFile {
    /// Reads the header of a file of version 2 or 3.
    ///
    /// # Errors
    /// [`GptOssError::Gguf`] for everything that is malformed, and errors of the file system.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GptOssError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(GptOssError::io(path, "open"))?;
        let len = file
            .metadata()
            .map_err(GptOssError::io(path, "stat"))?
            .len();
        let mut source = Source::new(file, len);
        let (keys, tensors) = header(&mut source).map_err(|message| GptOssError::Gguf {
            path: path.to_path_buf(),
            message,
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            keys,
            tensors,
        })
    }

    /// The bytes of a tensor.
    ///
    /// # Errors
    /// [`GptOssError::MissingTensor`], and errors of the file system.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, GptOssError> {
        use std::io::{Seek, SeekFrom};
        let tensor = self.tensors.iter().find(|tensor| tensor.name == name);
        let tensor = tensor.ok_or_else(|| GptOssError::MissingTensor {
            path: self.path.clone(),
            tensor: name.into(),
            hint: "the file does not list it".into(),
        })?;
        let mut bytes = vec![0; (tensor.range.end - tensor.range.start) as usize];
        File::open(&self.path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(tensor.range.start))?;
                file.read_exact(&mut bytes)
            })
            .map_err(GptOssError::io(&self.path, "read"))?;
        Ok(bytes)
    }
}

type Header = (BTreeMap<String, GgufValue>, Vec<GgufTensor>);

fn header(source: &mut Source) -> Result<Header, String> {
    let magic = source.bytes::<4>()?;
    if &magic != b"GGUF" {
        return Err(format!("it begins with {magic:?}, not with `GGUF`"));
    }
    let version = u32::from_le_bytes(source.bytes()?);
    if !(2..=3).contains(&version) {
        return Err(format!("it has version {version}, expected 2 or 3"));
    }
    // A tensor has a name, a number of axes, a type and an offset; a key a name, a type and a value.
    let n_tensors = source.count("tensors", 8 + 4 + 4 + 8)?;
    let n_keys = source.count("keys", 8 + 4 + 1)?;
    let mut keys = BTreeMap::new();
    for _ in 0..n_keys {
        let key = source.string()?;
        let kind = u32::from_le_bytes(source.bytes()?);
        let value =
            GgufValue::read(source, kind).map_err(|error| format!("key `{key}`: {error}"))?;
        if keys.insert(key.clone(), value).is_some() {
            return Err(format!("key `{key}` occurs twice"));
        }
    }
    let (mut infos, mut names) = (Vec::new(), BTreeSet::new());
    for _ in 0..n_tensors {
        let tensor = info(source)?;
        if !names.insert(tensor.name.clone()) {
            return Err(format!("tensor `{}` occurs twice", tensor.name));
        }
        infos.push(tensor);
    }
    let alignment = match keys.get("general.alignment") {
        None => super::ALIGNMENT,
        Some(GgufValue::U32(n)) if n.is_power_of_two() => u64::from(*n),
        Some(other) => {
            return Err(format!(
                "general.alignment is {other:?}, expected a power of two"
            ));
        }
    };
    place(
        &mut infos,
        source.position.next_multiple_of(alignment),
        source.len,
        alignment,
    )?;
    Ok((keys, infos))
}

/// A tensor whose range begins at the first one.
fn info(source: &mut Source) -> Result<GgufTensor, String> {
    let name = source.string()?;
    let n_axes = u32::from_le_bytes(source.bytes()?);
    if n_axes > MAX_AXES {
        return Err(format!(
            "tensor `{name}` has {n_axes} axes, at most {MAX_AXES} are possible"
        ));
    }
    let (mut shape, mut elements) = (Vec::new(), 1usize);
    for _ in 0..n_axes {
        let size = usize::try_from(u64::from_le_bytes(source.bytes()?)).ok();
        let product = size.and_then(|size| elements.checked_mul(size));
        elements =
            product.ok_or_else(|| format!("tensor `{name}` has more elements than memory"))?;
        shape.insert(0, size.unwrap_or(0));
    }
    let ggml_type = u32::from_le_bytes(source.bytes()?);
    let offset = u64::from_le_bytes(source.bytes()?);
    let known = TYPES.iter().find(|(number, ..)| *number == ggml_type);
    let (_, block, block_bytes) = known.ok_or_else(|| {
        format!(
            "tensor `{name}` has type {ggml_type}; floats, Q4_0 to Q6_K, IQ4, MXFP4 and NVFP4 are read"
        )
    })?;
    if !shape.last().is_none_or(|row| row.is_multiple_of(*block)) {
        return Err(format!(
            "rows of tensor `{name}`, {shape:?}, are no whole blocks of {block}"
        ));
    }
    let n_bytes = (elements / block).checked_mul(*block_bytes);
    let n_bytes = n_bytes.ok_or_else(|| format!("tensor `{name}` has more bytes than memory"))?;
    let end = offset.checked_add(n_bytes as u64);
    let end = end.ok_or_else(|| format!("tensor `{name}` ends beyond all files"))?;
    Ok(GgufTensor {
        name,
        shape,
        ggml_type,
        range: offset..end,
    })
}

/// Moves ranges behind the header, and checks that they are in the file and apart.
fn place(tensors: &mut [GgufTensor], start: u64, len: u64, alignment: u64) -> Result<(), String> {
    for tensor in tensors.iter_mut() {
        let Range { start: offset, end } = tensor.range;
        if !offset.is_multiple_of(alignment) {
            return Err(format!(
                "tensor `{}` begins at {offset}, no multiple of {alignment}",
                tensor.name
            ));
        }
        let placed = start.checked_add(end).filter(|end| *end <= len);
        let end = placed.ok_or_else(|| {
            let name = &tensor.name;
            format!("tensor `{name}` ends at {end} behind the header, the file has {len} bytes; it is truncated")
        })?;
        tensor.range = start + offset..end;
    }
    let mut order: Vec<&GgufTensor> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.range.start);
    for pair in order.windows(2) {
        if pair[1].range.start < pair[0].range.end {
            return Err(format!(
                "tensors `{}` and `{}` overlap",
                pair[0].name, pair[1].name
            ));
        }
    }
    Ok(())
}
