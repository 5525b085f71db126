//! Conversions between all forms: values, bytes, names, interruptions, what is refused.
#![allow(clippy::unwrap_used)]

#[path = "../support/files.rs"]
mod files;
#[path = "../support/golden.rs"]
mod golden;

mod foreign_names;
mod gguf;
mod hostile;
mod places;
mod round_trips;
mod rounding;
mod stopped;
mod validate;
mod verdicts;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn_gpt_oss::{
    CheckpointReader, ConvertReport, ConvertTarget, Converter, GptOssError, TensorSpec,
};
use tempfile::TempDir;

/// Converts without a word.
fn convert(source: &Path, target: ConvertTarget, out: &Path) -> Result<ConvertReport, GptOssError> {
    let reader = CheckpointReader::open(source)?;
    Converter::new(&reader, target).run(out, |_| ControlFlow::Continue(()))
}

/// A golden directory in another form; the handle removes it.
fn converted(source: &Path, target: ConvertTarget) -> (TempDir, PathBuf) {
    let temp = TempDir::new().unwrap();
    let out = temp.path().join(target.name());
    convert(source, target, &out).unwrap_or_else(|error| panic!("{target}: {error}"));
    (temp, out)
}

/// The bits of every parameter, by its path.
fn values(dir: &Path) -> Vec<(String, Vec<u32>)> {
    let reader = CheckpointReader::open(dir).unwrap_or_else(|error| panic!("{error}"));
    let bits = |spec: &TensorSpec| {
        let values = reader
            .values(spec)
            .unwrap_or_else(|error| panic!("{error}"));
        (
            spec.path.clone(),
            values.iter().map(|x| x.to_bits()).collect(),
        )
    };
    reader.specs().iter().map(bits).collect()
}

/// Fails at the first parameter that differs. Zeros have a sign in MXFP4, and none where they were rounded anew.
fn assert_same_values(found: &Path, expected: &Path, what: &str) {
    let positive = |bits: &u32| if *bits == 0x8000_0000 { 0 } else { *bits };
    for ((path, found), (_, expected)) in values(found).into_iter().zip(values(expected)) {
        let pairs = found.iter().zip(&expected);
        let differs = pairs.clone().position(|(a, b)| positive(a) != positive(b));
        assert_eq!(differs, None, "{what}: `{path}` differs at this element");
        assert_eq!(found.len(), expected.len(), "{what}: `{path}`");
    }
}
