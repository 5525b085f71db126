//! What a stage writes down while it trains, and in which formats.

mod csv;
mod jsonl;
mod tensorboard;

use std::fs::File;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::QuantizationPoint;
use super::history::{TrainPoint, ValidPoint};
use crate::error::QatError;

/// A format of the metrics of a stage, beside `metrics.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportTo {
    /// `metrics.csv`: steps and evaluations, one row each.
    Csv,
    /// A TensorBoard event file, with the tags of transformers' trainer.
    Tensorboard,
}

/// One thing to write down.
#[derive(Clone, Copy, Debug)]
pub(super) enum Record<'a> {
    /// The validation loss before the first step.
    Start(f64),
    Train(&'a TrainPoint),
    Valid(&'a ValidPoint),
    Quantization(&'a QuantizationPoint),
}

/// A file of records.
trait RecordFile: Send {
    /// What an error calls it.
    fn name(&self) -> &'static str;
    fn write(&mut self, record: Record<'_>) -> io::Result<()>;
    fn flush(&mut self) -> io::Result<()>;
}

/// All files of a stage. After the first error nothing more is written.
pub(super) struct RecordFiles {
    files: Vec<Box<dyn RecordFile>>,
    error: Option<(&'static str, io::Error)>,
}

impl RecordFiles {
    /// `jsonl` is the file that every stage has; the others are made beside it, in the place of those of an earlier run.
    pub fn create(
        stage: &str,
        (dir, jsonl): (&Path, File),
        formats: &[ReportTo],
    ) -> Result<Self, QatError> {
        let mut files: Vec<Box<dyn RecordFile>> = vec![Box::new(jsonl::Jsonl::new(stage, jsonl))];
        for format in [ReportTo::Csv, ReportTo::Tensorboard] {
            if !formats.contains(&format) {
                // An earlier run may have left what is not of this one.
                let removed = match format {
                    ReportTo::Csv => csv::remove(dir),
                    ReportTo::Tensorboard => tensorboard::remove(dir),
                };
                removed.map_err(QatError::io(dir, "remove earlier metrics from"))?;
                continue;
            }
            let file = match format {
                ReportTo::Csv => csv::create(stage, dir),
                ReportTo::Tensorboard => tensorboard::create(dir),
            };
            files.push(file.map_err(QatError::io(dir, "create the metrics in"))?);
        }
        Ok(Self { files, error: None })
    }

    pub fn write(&mut self, record: Record<'_>) {
        for file in &mut self.files {
            if self.error.is_none() {
                let error = file.write(record).err();
                self.error = error.map(|error| (file.name(), error));
            }
        }
    }

    /// Whether all that was written is in the files; the name of the first that has not.
    pub fn finish(&mut self) -> Result<(), (&'static str, io::Error)> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self
                .files
                .iter_mut()
                .try_for_each(|file| file.flush().map_err(|error| (file.name(), error))),
        }
    }
}
