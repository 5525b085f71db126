//! What trains, how fast, and what decays.

use burn_qat_train::{ParameterGroup, TrainConfig};

use crate::run::{Values, config, run, start, values};

fn changed(before: &Values, after: &Values) -> Vec<String> {
    let names = before.keys().filter(|name| before[*name] != after[*name]);
    names.cloned().collect()
}

fn largest_change(before: &Values, after: &Values, name: &str) -> f32 {
    let pairs = before[name].iter().zip(&after[name]);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn globs_choose_what_trains() {
    let before = values(&start());
    let frozen = run(&TrainConfig {
        frozen: vec!["*mlp*".into(), "embed*".into()],
        ..config()
    });
    let after = changed(&before, &values(&frozen.model));
    assert!(
        after.iter().any(|name| name.contains("self_attn")),
        "{after:?}"
    );
    assert!(
        !after
            .iter()
            .any(|name| name.contains("mlp") || name.contains("embed")),
        "{after:?}"
    );

    let only = run(&TrainConfig {
        trainable: Some(vec!["*router*".into(), "lm_head*".into()]),
        frozen: vec!["*bias".into()],
        ..config()
    });
    let after = changed(&before, &values(&only.model));
    let expected: Vec<&String> = before
        .keys()
        .filter(|name| name.contains("router.weight") || name.contains("lm_head"))
        .collect();
    assert_eq!(after.iter().collect::<Vec<_>>(), expected);
}

/// AdamW moves a weight by about the learning rate in the first step, whatever its gradient is.
#[test]
fn groups_have_their_own_learning_rate() {
    let before = values(&start());
    let one_step = TrainConfig {
        steps: 1,
        parameter_groups: vec![
            ParameterGroup {
                pattern: "*self_attn*".into(),
                learning_rate_ratio: 0.1,
                weight_decay: None,
            },
            ParameterGroup {
                pattern: "layers.1.self_attn*".into(),
                learning_rate_ratio: 3.0,
                weight_decay: None,
            },
        ],
        ..config()
    };
    let after = values(&run(&one_step).model);
    let step = |name: &str| largest_change(&before, &after, name) / 1e-3;
    assert!((step("model.layers.0.self_attn.o_proj.weight") - 0.1).abs() < 0.01);
    assert!((step("model.layers.1.self_attn.o_proj.weight") - 3.0).abs() < 0.1);
    assert!((step("lm_head.weight") - 1.0).abs() < 0.05);
}

/// LearningRateDecay is a factor on the weight: what has none differs from a run without decay nowhere.
#[test]
fn biases_norms_and_sinks_do_not_decay_unless_asked() {
    let one_step = |weight_decay, no_weight_decay: Option<Vec<String>>| {
        let config = TrainConfig {
            steps: 1,
            weight_decay,
            ..config()
        };
        let kept = config.no_weight_decay.clone();
        let no_weight_decay = no_weight_decay.unwrap_or(kept);
        values(
            &run(&TrainConfig {
                no_weight_decay,
                ..config
            })
            .model,
        )
    };
    let plain = one_step(0.0, None);
    let decayed = changed(&plain, &one_step(0.5, None));
    assert!(decayed.contains(&"model.layers.0.mlp.experts.down_proj".to_string()));
    let spared =
        |name: &String| name.ends_with("bias") || name.contains("norm") || name.ends_with("sinks");
    assert_eq!(decayed.iter().find(|name| spared(name)), None);
    let all = changed(&plain, &one_step(0.5, Some(Vec::new())));
    assert!(all.contains(&"model.norm.weight".to_string()), "{all:?}");
}
