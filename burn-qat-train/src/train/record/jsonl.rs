use std::fs::File;
use std::io::{self, LineWriter, Write};

use serde_json::{Value, json};

use super::{Record, RecordFile};

/// One object per line.
pub(super) struct Jsonl {
    stage: String,
    file: LineWriter<File>,
}

impl Jsonl {
    pub fn new(stage: &str, file: File) -> Self {
        Self {
            stage: stage.into(),
            file: LineWriter::new(file),
        }
    }

    fn object(&self, record: Record<'_>) -> io::Result<Value> {
        let stage = &self.stage;
        Ok(match record {
            Record::Start(loss) => json!({"stage": stage, "split": "start", "step": 0,
                "loss": loss, "perplexity": loss.exp()}),
            Record::Train(point) => json!({"stage": stage, "split": "train", "step": point.step,
                "loss": point.loss, "learning_rate": point.learning_rate, "tokens": point.tokens,
                "grad_norm": point.grad_norm, "seconds": point.seconds}),
            Record::Valid(point) => json!({"stage": stage, "split": "valid", "step": point.step,
                "loss": point.loss, "perplexity": point.loss.exp()}),
            Record::Quantization(point) => {
                let mut object = serde_json::to_value(point)?;
                object["stage"] = json!(stage);
                object["split"] = json!("quantization");
                object
            }
        })
    }
}

impl RecordFile for Jsonl {
    fn name(&self) -> &'static str {
        "metrics.jsonl"
    }

    fn write(&mut self, record: Record<'_>) -> io::Result<()> {
        let object = self.object(record)?;
        writeln!(self.file, "{object}")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
