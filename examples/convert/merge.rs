//! A base and its adapter as one model.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use burn::tensor::{Device, FloatDType};
use burn_gpt_oss::{
    AdapterCheckpoint, CheckpointForm, CheckpointReader, CheckpointWriter, ConvertTarget,
    SaveReport,
};
use burn_qat_train::{QuantPolicy, QuantRule, round_adapters};

use crate::args::Args;
use crate::progress::Progress;

/// Writes the sum, in FP4 rounded as training with these adapters rounds it.
pub fn run(
    args: &Args,
    source: &CheckpointReader,
    adapter: &Path,
    progress: &Progress,
) -> Result<SaveReport> {
    let form = match args.target()? {
        ConvertTarget::Mxfp4 => CheckpointForm::Mxfp4,
        ConvertTarget::Nvfp4 => CheckpointForm::Nvfp4,
        ConvertTarget::Bf16 => CheckpointForm::Bf16,
        other => bail!(
            "--adapter: a merge is written as mxfp4, nvfp4 or bf16; convert the result to {other} afterwards"
        ),
    };
    let place = args.out.canonicalize();
    for read in [source.dir(), adapter] {
        let inside = |place: &PathBuf| read.canonicalize().is_ok_and(|dir| dir.starts_with(place));
        ensure!(
            !place.as_ref().is_ok_and(inside),
            "--out {}: is, or holds, {}; choose another directory",
            args.out.display(),
            read.display()
        );
    }
    let adapter = AdapterCheckpoint::open(adapter, source.config())?;
    let model = source.load_stored(&Device::flex(), FloatDType::F32, |_| {})?;
    let mut model = adapter.attach(model)?;
    if let Some(scheme) = args.scheme()? {
        let rules = vec![QuantRule::new("*mlp.experts.*", Some(scheme))];
        (model, _) = round_adapters(model, &QuantPolicy::new("--to", rules))?;
    }
    let writer = CheckpointWriter::new(form)
        .with_source(source)
        .with_shard_bytes(args.shard_bytes()?)
        .with_overwrite(args.overwrite);
    Ok(writer.save(&model, &args.out, |done| {
        let _ = progress.show(&done);
    })?)
}
