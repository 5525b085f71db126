use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;

use super::foreign;
use crate::error::QatError;

const BUFFER: usize = 1 << 16;

/// Opens a file of text, which may be compressed by gzip or Zstandard: its first bytes say so, whatever its
/// name.
pub(super) fn open_text(path: &Path) -> Result<Box<dyn BufRead>, QatError> {
    let mut file = open(path)?;
    let start = file.fill_buf().map_err(QatError::io(path, "read"))?;
    let mut text: Box<dyn BufRead> = match start {
        [0x1f, 0x8b, ..] => Box::new(buffered(MultiGzDecoder::new(file))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(buffered(Frames::new(file))),
        _ => Box::new(file),
    };
    let start = text.fill_buf().map_err(QatError::io(path, "decompress"))?;
    if let Some(message) = foreign::describe_file(start) {
        return Err(QatError::Dataset {
            path: path.to_owned(),
            message,
        });
    }
    Ok(text)
}

/// Whether a file is Parquet.
#[cfg(feature = "parquet")]
pub(super) fn is_parquet(path: &Path) -> Result<bool, QatError> {
    let start = &mut [0; 4];
    let read = open(path)?
        .read(start)
        .map_err(QatError::io(path, "read"))?;
    Ok(read == 4 && start == b"PAR1")
}

fn open(path: &Path) -> Result<BufReader<File>, QatError> {
    let file = File::open(path).map_err(QatError::io(path, "open"))?;
    Ok(BufReader::with_capacity(BUFFER, file))
}

fn buffered<R: Read>(reader: R) -> BufReader<R> {
    BufReader::with_capacity(BUFFER, reader)
}

/// All frames of a Zstandard file, one behind the other.
struct Frames<R: BufRead> {
    source: Option<R>,
    frame: Option<StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>,
}

impl<R: BufRead> Frames<R> {
    fn new(source: R) -> Self {
        Self {
            source: Some(source),
            frame: None,
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let read = frame.read(out)?;
                if read > 0 || out.is_empty() {
                    return Ok(read);
                }
            }
            if let Some(frame) = self.frame.take() {
                let sums = (
                    frame.decoder.get_checksum_from_data(),
                    frame.decoder.get_calculated_checksum(),
                );
                if let (Some(stored), Some(computed)) = sums
                    && stored != computed
                {
                    let message =
                        "the checksum of a Zstandard frame is another one, the file is damaged";
                    return Err(std::io::Error::other(message));
                }
                self.source = Some(frame.into_inner());
            }
            let Some(mut source) = self.source.take() else {
                return Ok(0);
            };
            if source.fill_buf()?.is_empty() {
                self.source = Some(source);
                return Ok(0);
            }
            let frame = StreamingDecoder::new(source);
            self.frame = Some(frame.map_err(std::io::Error::other)?);
        }
    }
}
