//! One run of a conversion: file after file, with what was counted.

use std::ops::ControlFlow;

use super::encoder::Encoder;
use super::hashed_file::HashedFile;
use super::output::OutputTensor;
use super::work_directory::WorkDirectory;
use crate::checkpoint::CheckpointProgress;
use crate::checkpoint::plan::InHeader;
use crate::error::GptOssError;

/// The state of a run.
pub(super) struct Run<'a, P> {
    pub encoder: Encoder<'a>,
    progress: Counted<P>,
    pub resumed: usize,
}

struct Counted<P> {
    report: P,
    done: u64,
    total: u64,
}

impl<'a, P: FnMut(CheckpointProgress<'_>) -> ControlFlow<()>> Run<'a, P> {
    /// A run that will write so many bytes.
    pub fn new(encoder: Encoder<'a>, report: P, total: u64) -> Self {
        Self {
            encoder,
            progress: Counted {
                report,
                done: 0,
                total,
            },
            resumed: 0,
        }
    }

    /// Writes a file of weights, unless it is complete. Every tensor begins at a multiple of `alignment`.
    pub fn file(
        &mut self,
        work: &mut WorkDirectory,
        name: &str,
        header: &[u8],
        tensors: &[OutputTensor],
        alignment: u64,
    ) -> Result<(), GptOssError> {
        if work.complete(name).is_some() {
            self.resumed += 1;
            let done: u64 = tensors.iter().map(InHeader::n_bytes).sum();
            return self.progress.add(name, done);
        }
        let mut file = HashedFile::create(&work.path(name))?;
        file.write(header)?;
        for tensor in tensors {
            let start = file.len();
            let progress = &mut self.progress;
            self.encoder.encode(tensor, &mut |bytes| {
                file.write(bytes)?;
                progress.add(&tensor.name, bytes.len() as u64)
            })?;
            // A file that is complete is never looked at again.
            self.encoder.check_source()?;
            let written = file.len() - start;
            if written != tensor.n_bytes() {
                return Err(GptOssError::Safetensors {
                    path: work.path(name),
                    message: format!(
                        "`{}` became {written} bytes instead of {}; this is a fault of the converter",
                        tensor.name,
                        tensor.n_bytes()
                    ),
                });
            }
            let padding = file.len().next_multiple_of(alignment) - file.len();
            file.write(&vec![0; padding as usize])?;
        }
        let file = file.finish()?;
        work.finish(file, self.encoder.totals())
    }
}

impl<P: FnMut(CheckpointProgress<'_>) -> ControlFlow<()>> Counted<P> {
    fn add(&mut self, tensor: &str, bytes: u64) -> Result<(), GptOssError> {
        self.done += bytes;
        let (done, total) = (self.done, self.total);
        let flow = (self.report)(CheckpointProgress {
            tensor,
            bytes_done: done,
            bytes_total: total,
        });
        match flow {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(GptOssError::Interrupted { done, total }),
        }
    }
}
