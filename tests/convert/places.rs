//! Where a conversion must not write, what it must not remove, and what it must not pass on.

use std::ops::ControlFlow;
use std::path::Path;

use burn_gpt_oss::{CheckpointReader, ConvertTarget, Converter, GptOssError};
use tempfile::TempDir;

use crate::convert;
use crate::files::{WEIGHTS, copy_of, edit_tensors, snapshot};

fn overwrite(source: &Path, out: &Path) -> Result<(), GptOssError> {
    let reader = CheckpointReader::open(source)?;
    let converter = Converter::new(&reader, ConvertTarget::Bf16).with_overwrite(true);
    converter.run(out, |_| ControlFlow::Continue(())).map(drop)
}

#[test]
fn the_source_is_never_replaced() {
    let source = copy_of("tiny-gpt-oss");
    let before = snapshot(source.path());
    for out in [source.path(), source.path().parent().unwrap()] {
        let error = overwrite(source.path(), out).unwrap_err();
        assert!(
            matches!(error, GptOssError::OutputIsSource { .. }),
            "{error}"
        );
    }
    assert!(snapshot(source.path()) == before);
}

#[test]
fn a_directory_with_directories_is_not_replaced() {
    let (source, temp) = (copy_of("tiny-gpt-oss"), TempDir::new().unwrap());
    let out = temp.path().join("out");
    std::fs::create_dir_all(out.join("notes")).unwrap();
    std::fs::write(out.join("notes/x"), b"mine").unwrap();
    let error = overwrite(source.path(), &out).unwrap_err();
    assert!(error.to_string().contains("notes"), "{error}");
    assert!(out.join("notes/x").exists());
}

/// What stands where it would work and is not its own.
#[test]
fn work_directories_of_others_are_left_alone() {
    let (source, temp) = (copy_of("tiny-gpt-oss"), TempDir::new().unwrap());
    let work = temp.path().join(".a.converting");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("mine"), b"mine").unwrap();
    let error = overwrite(source.path(), &temp.path().join("a")).unwrap_err();
    assert!(matches!(error, GptOssError::OutputExists { .. }), "{error}");
    assert!(work.join("mine").exists());
    #[cfg(unix)]
    {
        let elsewhere = temp.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::write(elsewhere.join("mine"), b"mine").unwrap();
        std::os::unix::fs::symlink(&elsewhere, temp.path().join(".b.converting")).unwrap();
        let error = overwrite(source.path(), &temp.path().join("b")).unwrap_err();
        assert!(
            matches!(error, GptOssError::OutputNotADirectory { .. }),
            "{error}"
        );
        assert!(elsewhere.join("mine").exists());
    }
    overwrite(source.path(), Path::new("/")).unwrap_err();
}

/// Counts of a run that went on are those of the whole.
#[test]
fn counts_survive_an_interruption() {
    let (source, temp) = (copy_of("tiny-gpt-oss"), TempDir::new().unwrap());
    let reader = CheckpointReader::open(source.path()).unwrap();
    let converter = Converter::new(&reader, ConvertTarget::Nvfp4).with_shard_bytes(60_000);
    let go_on = |_: burn_gpt_oss::CheckpointProgress<'_>| ControlFlow::Continue(());
    let whole = converter.run(temp.path().join("whole"), go_on).unwrap();
    let out = temp.path().join("out");
    let half = whole.bytes / 2;
    let stopped = converter.run(&out, |done| match done.bytes_done > half {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    stopped.unwrap_err();
    let resumed = converter.run(&out, go_on).unwrap();
    assert!(resumed.resumed > 3);
    assert_eq!(resumed.cast.unwrap(), whole.cast.unwrap());
    let blocks = reader.config().num_expert_weights() / 32;
    assert_eq!(whole.cast.unwrap().n_blocks as u64, blocks);
}

/// Weights that are no numbers are not passed on, whatever form they are in.
#[test]
fn nothing_that_is_not_finite_is_passed_on() {
    let scale = |dir: &Path| {
        edit_tensors(&dir.join(WEIGHTS), |tensors| {
            let raw = tensors
                .get_mut("model.layers.0.mlp.experts.down_proj_scales")
                .unwrap();
            raw.bytes[5] = 255;
        });
    };
    let head = |dir: &Path| {
        edit_tensors(&dir.join(WEIGHTS), |tensors| {
            let raw = tensors.get_mut("lm_head.weight").unwrap();
            raw.bytes[20..22].copy_from_slice(&[0xc0, 0x7f]);
        });
    };
    for (edit, tensor) in [
        (&scale as &dyn Fn(&Path), "down_proj"),
        (&head, "lm_head.weight"),
    ] {
        let source = copy_of("tiny-gpt-oss");
        edit(source.path());
        for target in ConvertTarget::ALL {
            let temp = TempDir::new().unwrap();
            let error = convert(source.path(), target, &temp.path().join("out")).unwrap_err();
            assert!(error.to_string().contains(tensor), "{target}: {error}");
        }
    }
}
