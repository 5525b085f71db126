//! TensorBoard's event files: TFRecords (length, checksum, bytes, checksum) of `Event` messages in Protocol Buffers, from
//! `tensorflow/core/util/event.proto` and `summary.proto`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Record, RecordFile};

const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".burn-qat";
/// What the first event of a file says.
const VERSION: &str = "brain.Event:2";

struct Events {
    file: File,
    /// Seconds since 1970 of the first step.
    started: f64,
    /// Seconds since the start of the last step.
    seconds: f64,
}

/// A new event file, in the place of those of an earlier run, whose curves it repeats.
pub(super) fn create(dir: &Path) -> io::Result<Box<dyn RecordFile>> {
    remove(dir)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let started = now.unwrap_or_default().as_secs_f64();
    let name = format!("{PREFIX}{started:.0}{SUFFIX}");
    let mut events = Events {
        file: File::create(dir.join(name))?,
        started,
        seconds: 0.0,
    };
    let mut event = message_of_time(started);
    text(&mut event, 3, VERSION);
    events.record(&event)?;
    Ok(Box::new(events))
}

/// Removes the event files of earlier runs, not those of other programs.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

impl Events {
    /// Numbers of a step by their tags.
    fn scalars(&mut self, step: usize, values: &[(&str, f64)]) -> io::Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut scalar = Vec::new();
            text(&mut scalar, 1, tag);
            key(&mut scalar, 2, FIXED_32);
            scalar.extend((*value as f32).to_le_bytes());
            bytes(&mut summary, 1, &scalar);
        }
        let mut event = message_of_time(self.started + self.seconds);
        key(&mut event, 2, VARINT);
        varint(&mut event, step as u64);
        bytes(&mut event, 5, &summary);
        self.record(&event)
    }

    fn record(&mut self, message: &[u8]) -> io::Result<()> {
        let length = (message.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked(&length).to_le_bytes());
        record.extend(message);
        record.extend(masked(message).to_le_bytes());
        self.file.write_all(&record)
    }
}

impl RecordFile for Events {
    fn name(&self) -> &'static str {
        "TensorBoard's event file"
    }

    fn write(&mut self, record: Record<'_>) -> io::Result<()> {
        match record {
            Record::Start(loss) => self.scalars(0, &[("eval/loss", loss)]),
            Record::Valid(point) => self.scalars(point.step, &[("eval/loss", point.loss)]),
            Record::Train(point) => {
                self.seconds = point.seconds;
                let mut values = vec![
                    ("train/loss", point.loss),
                    ("train/learning_rate", point.learning_rate),
                ];
                values.extend(point.grad_norm.map(|norm| ("train/grad_norm", norm)));
                self.scalars(point.step, &values)
            }
            Record::Quantization(point) => {
                let tag = |what: &str| format!("quantization/{what}/{}", point.weight);
                let (sqnr, changed) = (tag("sqnr_db"), tag("codes_changed"));
                let mut values = vec![(changed.as_str(), point.codes_changed)];
                values.extend(point.sqnr_db.map(|decibels| (sqnr.as_str(), decibels)));
                self.scalars(point.step, &values)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The checksum of a TFRecord: CRC-32C, turned and moved so that checksums of checksums are of use.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// Wire types of Protocol Buffers.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

/// An event at a time.
fn message_of_time(seconds: f64) -> Vec<u8> {
    let mut event = Vec::new();
    key(&mut event, 1, FIXED_64);
    event.extend(seconds.to_le_bytes());
    event
}

fn key(message: &mut Vec<u8>, field: u64, wire_type: u64) {
    varint(message, field << 3 | wire_type);
}

fn text(message: &mut Vec<u8>, field: u64, value: &str) {
    bytes(message, field, value.as_bytes());
}

fn bytes(message: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(message, field, BYTES);
    varint(message, value.len() as u64);
    message.extend(value);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first record of every file that TensorFlow writes but for its time, checksums included.
    #[test]
    fn the_first_event_has_the_bytes_of_tensorflow() {
        let mut event = message_of_time(0.0);
        text(&mut event, 3, VERSION);
        let expected = b"\x09\0\0\0\0\0\0\0\0\x1a\x0dbrain.Event:2";
        assert_eq!(event, expected);
        let length = (expected.len() as u64).to_le_bytes();
        assert_eq!(masked(&length).to_le_bytes(), *b"\xa3\x7f\x4b\x22");
    }

    #[test]
    fn numbers_of_many_bits_take_many_bytes() {
        let mut message = Vec::new();
        varint(&mut message, 300);
        assert_eq!(message, [0xac, 0x02]);
    }
}
