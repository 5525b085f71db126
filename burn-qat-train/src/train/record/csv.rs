use std::fs::File;
use std::io;
use std::path::Path;

use csv::Writer;

use super::{Record, RecordFile};

const NAME: &str = "metrics.csv";
const HEADER: [&str; 8] = [
    "stage",
    "split",
    "step",
    "loss",
    "learning_rate",
    "tokens",
    "grad_norm",
    "seconds",
];

/// Rows of steps and evaluations; what a row has not is left empty. Quantized weights, of which there are many to a step,
/// are not in it.
struct Csv {
    stage: String,
    rows: Writer<File>,
}

pub(super) fn create(stage: &str, dir: &Path) -> io::Result<Box<dyn RecordFile>> {
    let mut rows = Writer::from_writer(File::create(dir.join(NAME))?);
    rows.write_record(HEADER)?;
    rows.flush()?;
    Ok(Box::new(Csv {
        stage: stage.into(),
        rows,
    }))
}

/// Removes the rows of an earlier run.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(dir.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl RecordFile for Csv {
    fn name(&self) -> &'static str {
        NAME
    }

    fn write(&mut self, record: Record<'_>) -> io::Result<()> {
        let empty = String::new;
        let (split, step, loss) = match record {
            Record::Start(loss) => ("start", 0, loss),
            Record::Train(point) => ("train", point.step, point.loss),
            Record::Valid(point) => ("valid", point.step, point.loss),
            Record::Quantization(_) => return Ok(()),
        };
        let rest = match record {
            Record::Train(point) => [
                point.learning_rate.to_string(),
                point.tokens.to_string(),
                point.grad_norm.map_or_else(empty, |norm| norm.to_string()),
                point.seconds.to_string(),
            ],
            _ => [const { String::new() }; 4],
        };
        let first = [
            self.stage.clone(),
            split.into(),
            step.to_string(),
            loss.to_string(),
        ];
        self.rows.write_record(first.iter().chain(&rest))?;
        // Somebody may look while it trains.
        self.rows.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.rows.flush()
    }
}
