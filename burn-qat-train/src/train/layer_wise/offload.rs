//! Moments in files, while their matrix is not updated.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use burn::tensor::{Bytes, DType, Device, Int, Tensor, TensorData};

use crate::train::CompactState;

/// A directory with a file for each matrix, which is removed at the end. The system writes the files while training goes
/// on, and keeps of them in memory what it has room for.
#[derive(Debug)]
pub(in crate::train) struct Offload {
    dir: PathBuf,
}

/// The moments of a matrix in its file: codes and scales of the first one, then those of the second.
#[derive(Clone, Debug)]
pub(in crate::train) struct Offloaded {
    path: PathBuf,
    parts: [(DType, usize); 4],
}

impl Offload {
    /// Files in a directory, which is made; what an earlier run left in it is removed.
    ///
    /// # Errors
    /// A directory that cannot be made.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let dir = dir.join("moments");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// Writes the moments of a matrix, and returns where they are, with the rest of its state.
    pub fn write(&self, name: &str, state: CompactState) -> io::Result<(CompactState, Offloaded)> {
        let path = self.dir.join(format!("{name}.bin"));
        let write = || {
            let mut file = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            let parts = [
                (state.codes_1.dtype(), state.codes_1.to_data()),
                (state.scales_1.dtype(), state.scales_1.to_data()),
                (state.codes_2.dtype(), state.codes_2.to_data()),
                (state.scales_2.dtype(), state.scales_2.to_data()),
            ];
            let mut kinds = [(DType::U8, 0); 4];
            for (kind, (dtype, data)) in kinds.iter_mut().zip(parts) {
                *kind = (dtype, data.shape().num_elements());
                file.write_all(data.bytes())?;
            }
            Ok(kinds)
        };
        let parts = write().map_err(|error| at(&path, "written", &error))?;
        let device = state.codes_1.device();
        let rest = CompactState {
            codes_1: Tensor::zeros([0], (&device, DType::U8)),
            scales_1: Tensor::zeros([0], (&device, DType::F32)),
            codes_2: Tensor::zeros([0], (&device, DType::U8)),
            scales_2: Tensor::zeros([0], (&device, DType::F32)),
            ..state
        };
        Ok((rest, Offloaded { path, parts }))
    }
}

impl Drop for Offload {
    fn drop(&mut self) {
        // What stays behind is removed by the next run in the directory.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Offloaded {
    /// The state with its moments.
    pub fn read(&self, rest: CompactState, device: &Device) -> io::Result<CompactState> {
        let [codes_1, scales_1, codes_2, scales_2] = [0, 1, 2, 3].map(|part| self.part(part));
        Ok(CompactState {
            codes_1: int(codes_1?, device),
            scales_1: float(scales_1?, device),
            codes_2: int(codes_2?, device),
            scales_2: float(scales_2?, device),
            ..rest
        })
    }

    /// The type and the number of elements of a part.
    pub fn kind(&self, part: usize) -> (DType, usize) {
        self.parts[part]
    }

    /// A part as it is in the file.
    pub fn part(&self, part: usize) -> io::Result<TensorData> {
        let size = |(dtype, n): &(DType, usize)| dtype.size() * n;
        let start: usize = self.parts[..part].iter().map(size).sum();
        let (dtype, n) = self.parts[part];
        let mut bytes = vec![0; dtype.size() * n];
        let read = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(start as u64))?;
            file.read_exact(&mut bytes)
        };
        let mut read = read;
        read().map_err(|error| at(&self.path, "read", &error))?;
        Ok(TensorData::from_bytes(
            Bytes::from_bytes_vec(bytes),
            [n],
            dtype,
        ))
    }
}

fn int(data: TensorData, device: &Device) -> Tensor<1, Int> {
    let dtype = data.dtype();
    Tensor::from_data(data, (device, dtype))
}

fn float(data: TensorData, device: &Device) -> Tensor<1> {
    let dtype = data.dtype();
    Tensor::from_data(data, (device, dtype))
}

fn at(path: &Path, what: &str, error: &io::Error) -> io::Error {
    let message = format!("{}: the moments cannot be {what}: {error}", path.display());
    io::Error::new(error.kind(), message)
}
