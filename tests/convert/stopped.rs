//! Conversions that end early go on, and leave nothing under the name of the target.

use std::ops::ControlFlow;
use std::path::Path;

use burn_gpt_oss::{CheckpointReader, ConvertTarget, Converter, GptOssError};
use tempfile::TempDir;

use crate::files::{all_tensors, copy_of, entries};
use crate::golden;

const TARGET: ConvertTarget = ConvertTarget::CompressedNvfp4;

fn source() -> CheckpointReader {
    CheckpointReader::open(golden::directory().join("tiny-gpt-oss")).unwrap()
}

fn converter(source: &CheckpointReader) -> Converter<'_> {
    Converter::new(source, TARGET).with_shard_bytes(100_000)
}

/// Stops after this many bytes.
fn stop_at(bytes: u64, out: &Path) -> Result<burn_gpt_oss::ConvertReport, GptOssError> {
    converter(&source()).run(out, |done| match done.bytes_done >= bytes {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    })
}

#[test]
fn a_stopped_conversion_goes_on() {
    let temp = TempDir::new().unwrap();
    let whole = temp.path().join("whole");
    let total = converter(&source())
        .run(&whole, |_| ControlFlow::Continue(()))
        .unwrap()
        .bytes;
    let mut kept = 0;
    for tenth in 1..10 {
        let out = temp.path().join(format!("out{tenth}"));
        let error = stop_at(total * tenth / 10, &out).unwrap_err();
        assert!(matches!(error, GptOssError::Interrupted { .. }), "{error}");
        assert!(!out.exists());
        let report = stop_at(u64::MAX, &out).unwrap();
        assert!(
            report.resumed >= kept,
            "{tenth}: {} after {kept}",
            report.resumed
        );
        kept = report.resumed;
        assert!(all_tensors(&out) == all_tensors(&whole), "{tenth}");
        assert_eq!(entries(&out), entries(&whole));
    }
    assert!(kept > 5, "{kept} files were kept");
    let left: Vec<_> = entries(temp.path())
        .into_iter()
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Files of other sources, of other options and of half a length are not kept.
#[test]
fn only_what_is_the_same_is_kept() {
    let temp = TempDir::new().unwrap();
    let out = temp.path().join("out");
    stop_at(400_000, &out).unwrap_err();
    let work = temp.path().join(".out.converting");
    let shards: Vec<_> = entries(&work)
        .into_iter()
        .filter(|name| name.ends_with("safetensors"))
        .collect();
    std::fs::write(work.join(&shards[0]), b"half").unwrap();
    let report = stop_at(u64::MAX, &out).unwrap();
    assert!(
        report.resumed + 1 < shards.len(),
        "{} of {}",
        report.resumed,
        shards.len()
    );

    let other = temp.path().join("other");
    stop_at(400_000, &other).unwrap_err();
    let copy = copy_of("tiny-gpt-oss");
    let copied = CheckpointReader::open(copy.path()).unwrap();
    let report = converter(&copied)
        .run(&other, |_| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(report.resumed, 0);
}

#[test]
fn an_occupied_target_is_left_alone() {
    let temp = TempDir::new().unwrap();
    let out = temp.path().join("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("mine"), b"mine").unwrap();
    let error = stop_at(u64::MAX, &out).unwrap_err();
    assert!(matches!(error, GptOssError::OutputExists { .. }), "{error}");
    assert_eq!(entries(&out), ["mine"]);
    let source = source();
    let converter = converter(&source).with_overwrite(true);
    converter.run(&out, |_| ControlFlow::Continue(())).unwrap();
    assert!(!out.join("mine").exists() && out.join("config.json").exists());
}

#[test]
fn two_at_a_time_are_refused() {
    let temp = TempDir::new().unwrap();
    let out = temp.path().join("out");
    let mut second = None;
    let source = source();
    converter(&source)
        .run(&out, |_| {
            second.get_or_insert_with(|| {
                stop_at(u64::MAX, &out).err().map(|error| error.to_string())
            });
            ControlFlow::Continue(())
        })
        .unwrap();
    let second = second.flatten().unwrap();
    assert!(second.contains("another one runs"), "{second}");
}

/// A file that was written with zeros for pages that were gone must not be found complete by the next run.
#[test]
#[cfg(unix)]
fn a_source_that_was_shortened_for_a_while_leaves_nothing_wrong() {
    let copy = copy_of("tiny-gpt-oss");
    let weights = copy.path().join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    let modified = weights.metadata().unwrap().modified().unwrap();
    let open = || std::fs::File::options().write(true).open(&weights).unwrap();
    let restore = || {
        std::fs::write(&weights, &bytes).unwrap();
        open().set_modified(modified).unwrap();
    };
    let temp = TempDir::new().unwrap();
    let [out, whole] = ["out", "whole"].map(|name| temp.path().join(name));
    let source = CheckpointReader::open(copy.path()).unwrap();
    let mut shortened = false;
    let result = converter(&source).run(&out, |done| {
        if done.bytes_done > 150_000 && !std::mem::replace(&mut shortened, true) {
            open().set_len(4096).unwrap();
        } else if shortened {
            restore();
        }
        ControlFlow::Continue(())
    });
    let error = result.expect_err("noticed");
    assert!(matches!(error, GptOssError::FileChanged { .. }), "{error}");
    restore();
    let go_on = |out: &Path| {
        let source = CheckpointReader::open(copy.path()).unwrap();
        converter(&source)
            .run(out, |_| ControlFlow::Continue(()))
            .unwrap()
    };
    assert!(go_on(&out).resumed > 0);
    go_on(&whole);
    assert!(all_tensors(&out) == all_tensors(&whole));
}

/// A source that is written to meanwhile makes no checkpoint.
#[test]
fn a_source_that_changes_is_noticed() {
    let copy = copy_of("tiny-gpt-oss");
    let source = CheckpointReader::open(copy.path()).unwrap();
    let temp = TempDir::new().unwrap();
    let out = temp.path().join("out");
    let weights = copy.path().join("model.safetensors");
    let mut touched = false;
    let result = converter(&source).run(&out, |_| {
        if !std::mem::replace(&mut touched, true) {
            let bytes = std::fs::read(&weights).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
            std::fs::write(&weights, bytes).unwrap();
        }
        ControlFlow::Continue(())
    });
    let error = result.expect_err("noticed");
    assert!(matches!(error, GptOssError::FileChanged { .. }), "{error}");
    assert!(!out.exists());
}
