//! Settings that choose nothing.

use burn_qat_train::{ParameterGroup, TrainConfig};

use crate::run::{config, run_in, start};

#[test]
fn what_chooses_nothing_is_refused_by_name() {
    let refused = |config: TrainConfig| {
        let dir = tempfile::tempdir().unwrap();
        run_in(dir.path(), start(), &config)
            .unwrap_err()
            .to_string()
    };
    let message = refused(TrainConfig {
        frozen: vec!["*no_such_part*".into()],
        ..config()
    });
    assert!(
        message.contains("frozen") && message.contains("`*no_such_part*`"),
        "{message}"
    );
    let message = refused(TrainConfig {
        trainable: Some(Vec::new()),
        ..config()
    });
    assert!(message.contains("leave something to train"), "{message}");
    let message = refused(TrainConfig {
        parameter_groups: vec![ParameterGroup {
            pattern: "*router*".into(),
            learning_rate_ratio: 0.0,
            weight_decay: None,
        }],
        ..config()
    });
    assert!(message.contains("learning_rate_ratio"), "{message}");
    let message = refused(TrainConfig {
        warmup_steps: Some(7),
        ..config()
    });
    assert!(
        message.contains("warmup_steps") && message.contains("the 6 steps"),
        "{message}"
    );
    let message = refused(TrainConfig {
        frozen: vec!["[".into()],
        ..config()
    });
    assert!(message.contains("frozen"), "{message}");
}
