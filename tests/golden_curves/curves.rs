//! Twenty steps on one batch.

use std::path::Path;

use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::Device;
use burn_gpt_oss::GptOss;

use crate::deviation::Deviations;
use crate::golden::{self, Golden};
use crate::model::{Named, parameters, scalar};
use crate::start::{self, Batch};

const LEARNING_RATE: f64 = 1e-3;

/// What is optimized, and how closely torch must be followed.
pub struct Mode {
    pub name: &'static str,
    model: fn(&Device) -> GptOss,
    aux_coefficient: Option<f64>,
    bars: Bars,
    /// Bars of the parameters after the last step, where the golden data has them.
    parameters: Option<Drift>,
}

/// How far the elements of a parameter may be from torch's after a run in which the optimizer moves
/// each by up to 2e-2, the number of steps times the learning rate.
struct Drift {
    most: f64,
    mean: f64,
}

/// Bars of a curve.
struct Bars {
    /// Before the first update.
    start: f64,
    /// After the first two updates.
    early: f64,
    /// The same for other data than the repository's.
    early_elsewhere: f64,
    /// From step 3 through step 6, for the data of the repository.
    middle: f64,
    late: f64,
    /// From step 3.
    late_mean: f64,
}

const PLAIN: Bars = Bars {
    start: 1e-3,
    early: 1e-3,
    early_elsewhere: 1e-3,
    middle: 1e-3,
    late: 1e-3,
    late_mean: 1e-3,
};

/// At most one step: where a gradient is noise, so is the direction of its step. On average half of
/// what weight decay alone does to a weight of 1. The drift from noise of 1e-6 in the start model is
/// 3e-6 at most.
const PLAIN_DRIFT: Drift = Drift {
    most: 1e-3,
    mean: 1e-4,
};

/// Four times the drift from noise of 1e-6 in the start model, once it flips FP4 codes.
const MXFP4_DRIFT: Drift = Drift {
    most: 5e-3,
    mean: 1e-3,
};

pub const NONE: Mode = Mode {
    name: "none",
    model: start::model,
    aux_coefficient: None,
    bars: PLAIN,
    parameters: Some(PLAIN_DRIFT),
};

pub const NONE_WITH_AUX: Mode = Mode {
    name: "none_auxcoef0.9",
    model: start::model,
    aux_coefficient: Some(0.9),
    bars: PLAIN,
    parameters: None,
};

/// Once one FP4 code differs, the runs part: see the perturbed runs of the golden data.
pub const MXFP4: Mode = Mode {
    name: "mxfp4",
    model: start::mxfp4,
    aux_coefficient: None,
    bars: Bars {
        start: 1e-5,
        early: 5e-5,
        early_elsewhere: 3e-4,
        middle: 1e-1,
        late: 1e-1,
        late_mean: 3e-2,
    },
    parameters: Some(MXFP4_DRIFT),
};

/// Noise of 1e-6 in the start model drifts by 7e-4 until step 6 and 7e-3 later.
pub const MXFP4_OCP: Mode = Mode {
    name: "mxfp4_ocp",
    model: start::mxfp4_ocp,
    aux_coefficient: None,
    bars: Bars {
        start: 1e-5,
        early: 5e-5,
        early_elsewhere: 3e-4,
        middle: 3e-3,
        late: 5e-2,
        late_mean: 2e-2,
    },
    parameters: Some(MXFP4_DRIFT),
};

/// Noise of 1e-6 in the start model drifts by 3e-6 until step 2, 7e-4 until step 6 and 1.2e-2 later,
/// with a frozen amax by 1.3e-3 until step 6.
pub const NVFP4: Mode = Mode {
    name: "nvfp4",
    model: start::nvfp4,
    aux_coefficient: None,
    bars: MXFP4_OCP.bars,
    parameters: Some(MXFP4_DRIFT),
};

pub const NVFP4_FROZEN: Mode = Mode {
    name: "nvfp4_frozen",
    model: start::nvfp4_frozen,
    ..NVFP4
};

/// What a run leaves: entry `i` of a curve is the value after `i` updates.
struct Run {
    ce: Vec<f64>,
    aux: Vec<f64>,
    parameters: Named,
}

impl Mode {
    pub fn check(&self, golden: &Golden) {
        let mut deviations = Deviations::new(&format!("curve, {}", self.name));
        let expected_ce = golden.f64(&self.key("ce")).values;
        let expected_aux = golden.f64(&self.key("aux")).values;
        assert!(
            expected_ce.len() > 3,
            "`{}` has {} entries",
            self.key("ce"),
            expected_ce.len()
        );
        let steps = expected_ce.len() - 1;
        self.print_context(golden, &expected_ce);
        let run = self.run(&Batch::read(golden), steps);
        self.compare("ce", &run.ce, &expected_ce, &mut deviations);
        self.compare("aux", &run.aux, &expected_aux, &mut deviations);
        self.compare_parameters(&run.parameters, steps, golden, &mut deviations);
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    fn run(&self, batch: &Batch, steps: usize) -> Run {
        let mut model = (self.model)(&start::device());
        let mut optimizer = AdamWConfig::new()
            .with_beta_1(0.9)
            .with_beta_2(0.999)
            .with_epsilon(1e-8)
            .with_weight_decay(0.01)
            .init();
        let (mut ce, mut aux) = (Vec::new(), Vec::new());
        for step in 0..=steps {
            let pass = batch.run(&model);
            ce.push(scalar(&pass.ce));
            aux.push(scalar(&pass.aux));
            if step < steps {
                let loss = match self.aux_coefficient {
                    Some(coefficient) => pass.ce + pass.aux * coefficient,
                    None => pass.ce,
                };
                let gradients = GradientsParams::from_grads(loss.backward(), &model);
                model = optimizer.step(LEARNING_RATE, model, gradients);
            }
        }
        Run {
            ce,
            aux,
            parameters: parameters(&model),
        }
    }

    fn compare(&self, curve: &str, found: &[f64], expected: &[f64], deviations: &mut Deviations) {
        assert_eq!(
            found.len(),
            expected.len(),
            "entries of `{}`",
            self.key(curve)
        );
        let deviation: Vec<_> = found
            .iter()
            .zip(expected)
            .map(|(f, e)| (f - e).abs())
            .collect();
        let shown: Vec<_> = deviation
            .iter()
            .map(|value| format!("{value:.1e}"))
            .collect();
        println!(
            "`{}`: deviation per step {}",
            self.key(curve),
            shown.join(" ")
        );
        for (step, deviation) in deviation.iter().enumerate() {
            let (part, limit) = self.bars.at(step);
            deviations.note(&format!("{curve}, {part}"), *deviation, limit);
            assert!(
                *deviation <= limit,
                "`{}`, step {step}: {}, expected {} (deviation {deviation:e}, limit {limit:e})",
                self.key(curve),
                found[step],
                expected[step],
            );
        }
        let late = &deviation[3..];
        let mean = late.iter().sum::<f64>() / late.len() as f64;
        deviations.scalar(
            &format!("{curve}, mean from step 3"),
            mean,
            0.0,
            self.bars.late_mean,
        );
    }

    fn compare_parameters(
        &self,
        found: &Named,
        steps: usize,
        golden: &Golden,
        deviations: &mut Deviations,
    ) {
        let Some(drift) = &self.parameters else {
            return;
        };
        let prefix = self.key(&format!("after{steps}."));
        let keys = golden.keys(&prefix);
        assert!(!keys.is_empty(), "no golden parameters `{prefix}*`");
        for key in keys {
            let expected = golden.f32(&key);
            let name = &key[prefix.len()..];
            let found = found
                .get(name)
                .unwrap_or_else(|| panic!("no parameter `{name}`"));
            assert_eq!(found.shape, expected.shape, "shape of `{key}`");
            let group = format!("after {steps} steps, {name}");
            deviations.compare(&group, &key, (&found.values, &expected.values), drift.most);
            let mean = mean_deviation(&found.values, &expected.values);
            deviations.scalar(&format!("{group}, mean"), mean, 0.0, drift.mean);
        }
    }

    /// How far torch itself drifts from slightly different parameters, and how close the routing is.
    fn print_context(&self, golden: &Golden, expected: &[f64]) {
        for key in golden.keys(&self.key("ce_perturbed_")) {
            let perturbed = golden.f64(&key).values;
            assert_eq!(perturbed.len(), expected.len(), "entries of `{key}`");
            let drift: Vec<_> = perturbed
                .iter()
                .zip(expected)
                .map(|(p, e)| format!("{:.1e}", (p - e).abs()))
                .collect();
            println!("`{key}`: drift of torch per step {}", drift.join(" "));
        }
        let key = self.key("min_router_gap");
        let gaps: Vec<_> = golden
            .f64(&key)
            .values
            .iter()
            .map(|gap| format!("{gap:.0e}"))
            .collect();
        println!("`{key}`: {}", gaps.join(" "));
    }
}

fn mean_deviation(found: &[f32], expected: &[f32]) -> f64 {
    let deviations = found
        .iter()
        .zip(expected)
        .map(|(f, e)| f64::from((f - e).abs()));
    deviations.sum::<f64>() / found.len() as f64
}

impl Bars {
    fn at(&self, step: usize) -> (&'static str, f64) {
        match step {
            0 => ("step 0", self.start),
            1 | 2 => (
                "steps 1 and 2",
                if is_other_data() {
                    self.early_elsewhere
                } else {
                    self.early
                },
            ),
            3..=6 if !is_other_data() => ("steps 3 to 6", self.middle),
            _ => ("later", self.late),
        }
    }
}

/// Whether `GOLDEN_DIR` names a directory with other curves than the repository's.
fn is_other_data() -> bool {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let curves = |directory: &Path| std::fs::read(directory.join(crate::CURVES)).ok();
    curves(own.as_ref()) != curves(&golden::directory())
}
