//! The loss curves of a run.

use std::path::Path;

use anyhow::Result;
use burn_qat_train::{Curve, History, loss_plot};

use crate::output::write;

/// What a stage has trained.
pub struct StageCurve {
    pub title: String,
    /// Optimizer steps before the stage.
    pub start: usize,
    pub history: History,
}

/// Draws all stages, each from the step on where it began; PTQ is a level line behind the first.
pub fn write_plot(out: &Path, stages: &[StageCurve], ptq: Option<(&str, f64)>) -> Result<()> {
    let mut curves: Vec<Curve> = stages.iter().map(curve).collect();
    let last_step = |curve: &Curve| curve.train.last().map_or(0.0, |(step, _)| *step);
    let end = curves.iter().map(last_step).fold(0.0, f64::max);
    if let (Some((name, loss)), Some(first)) = (ptq, curves.first().map(last_step)) {
        let valid = vec![(first, loss), (end, loss)];
        curves.push(Curve {
            name: name.into(),
            valid,
            ..Curve::default()
        });
    }
    write(
        &out.join("loss.svg"),
        &loss_plot("Loss while fine-tuning", &curves)?,
    )
}

fn curve(stage: &StageCurve) -> Curve {
    let x = |step: usize| (stage.start + step) as f64;
    let history = &stage.history;
    let train = history.train.iter();
    let valid = history.valid.iter();
    let start = history.start.map(|loss| (x(0), loss));
    Curve {
        name: stage.title.clone(),
        train: train.map(|point| (x(point.step), point.loss)).collect(),
        valid: start
            .into_iter()
            .chain(valid.map(|point| (x(point.step), point.loss)))
            .collect(),
    }
}
