//! Quantized weights: scales that are kept, and what is measured.

use std::num::NonZeroUsize;

use burn::train::Interrupter;
use burn_fp4::{Fp4Scheme, SliceQuantizer, codes_changed};
use burn_gpt_oss::ExpertWeight;
use burn_qat_train::{
    GlobalRefresh, History, ParameterGroup, QuantPolicy, StageOutcome, StageRun, TrainConfig,
    insert_quantizers, insert_quantizers_with, saved_step,
};

use crate::model;
use crate::run::{config, examples, run_in, start, values};

/// Frozen parameters, groups, NVFP4 with scales that are renewed: a run that goes on is the one that did not stop.
#[test]
fn runs_with_groups_and_kept_scales_go_on_bit_for_bit() {
    let config = TrainConfig {
        steps: 8,
        checkpoint_steps: NonZeroUsize::new(1),
        global_refresh_steps: NonZeroUsize::new(3),
        eval_on_start: true,
        weight_decay: 0.1,
        frozen: vec!["*self_attn*".into()],
        parameter_groups: vec![ParameterGroup {
            pattern: "*router*".into(),
            learning_rate_ratio: 0.5,
            weight_decay: Some(0.0),
        }],
        ..config()
    };
    let refresh = GlobalRefresh::Every(NonZeroUsize::new(3).unwrap());
    let rounded = || {
        let policy = QuantPolicy::nvfp4_mlp_weight_only();
        let model = start();
        insert_quantizers_with(model, &policy, refresh).unwrap().0
    };
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = run_in(whole.path(), rounded(), &config).unwrap();
    let mut found = None;
    // Stopped after one step, and one, and one; then it goes on to the end.
    for stopped in 0..4 {
        let data = (examples(1), examples(5));
        let stop = Interrupter::new();
        if stopped < 3 {
            stop.stop(None);
        }
        let run = StageRun::new("test", parts.path(), &config).with_interrupter(stop);
        let outcome = match saved_step(parts.path()).unwrap() {
            None => run.train(rounded(), data),
            Some(_) => run.resume(rounded(), data),
        };
        let outcome = outcome.unwrap();
        assert_eq!(outcome.interrupted, stopped < 3);
        found = Some(outcome);
    }
    let found = found.unwrap();
    assert_eq!(found.history.quantization, expected.history.quantization);
    let losses = |outcome: &StageOutcome| {
        let points = outcome.history.train.iter();
        points.map(|point| point.loss).collect::<Vec<_>>()
    };
    assert_eq!(losses(&found), losses(&expected));
    assert_eq!(found.history.valid, expected.history.valid);
    assert_eq!(values(&found.model), values(&expected.model));
}

/// What the log says of a weight is what the weight says.
#[test]
fn quantized_weights_are_measured_at_every_evaluation() {
    let policy = QuantPolicy::mxfp4_mlp_weight_only();
    let rounded = || insert_quantizers(start(), &policy).unwrap().0;
    let dir = tempfile::tempdir().unwrap();
    let outcome = run_in(dir.path(), rounded(), &config()).unwrap();
    let points = &outcome.history.quantization;
    let n_weights = 2 * outcome.model.layers.len();
    assert_eq!(points.len(), 4 * n_weights);
    let steps: Vec<usize> = points.iter().map(|point| point.step).collect();
    assert_eq!(
        steps
            .chunks(n_weights)
            .map(|steps| steps[0])
            .collect::<Vec<_>>(),
        [0, 2, 4, 6]
    );
    assert!(
        points[..n_weights]
            .iter()
            .all(|point| point.codes_changed == 0.0)
    );

    let (before, after) = (rounded(), &outcome.model);
    let last = points
        .iter()
        .filter(|point| point.step == outcome.best_step);
    for ((path, a), (point, (_, b))) in before
        .expert_weights()
        .zip(last.zip(after.expert_weights()))
    {
        let quantizer = SliceQuantizer::new(Fp4Scheme::mxfp4());
        let packed = |weight: &ExpertWeight| {
            let values = model::values(&weight.dense().unwrap().base());
            let stats = quantizer.stats(&values, &weight.shape(), 1).unwrap();
            (
                quantizer.quantize(&values, &weight.shape(), 1).unwrap(),
                stats,
            )
        };
        let ((a, _), (b, stats)) = (packed(a), packed(b));
        let changes = codes_changed(&a, &b).unwrap();
        assert_eq!(point.sqnr_db, Some(stats.sqnr_db()));
        assert_eq!(point.zeroed, stats.zero_fraction());
        assert_eq!(point.weight, path);
        assert_eq!(
            point.codes_changed,
            changes.codes as f64 / changes.n_elements as f64
        );
        assert!(point.codes_changed > 0.0, "{point:?}");
    }
    let read = History::from_jsonl(&dir.path().join("metrics.jsonl")).unwrap();
    assert_eq!(&read.quantization, points);
    let off = TrainConfig {
        quantization_metrics: false,
        ..config()
    };
    let dir = tempfile::tempdir().unwrap();
    let outcome = run_in(dir.path(), rounded(), &off).unwrap();
    assert!(outcome.history.quantization.is_empty());
}
