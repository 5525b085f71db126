//! Which weights get adapters, and with what they begin.

use burn::tensor::Device;
use burn_gpt_oss::{AdapterCheckpoint, GptOss, GptOssConfig};
use burn_qat_train::{
    AdapterTable, LoraConfig, MemoryEstimate, QatError, QuantPolicy, TrainConfig, insert_adapters,
    round_adapters,
};

use crate::model::{int_tensor, load_stored, values};
use crate::{FORM, adapted};

fn factors(model: &GptOss, config: &LoraConfig) -> AdapterCheckpoint {
    AdapterCheckpoint::of(model, config.settings("")).unwrap()
}

fn refused(config: LoraConfig) -> String {
    let model = load_stored(FORM, &Device::flex());
    insert_adapters(model, &config).unwrap_err().to_string()
}

#[test]
fn attention_and_experts_are_the_default() {
    let model = load_stored(FORM, &Device::flex());
    let config = model.config().clone();
    let lora = LoraConfig::default();
    let (_, adapted) = insert_adapters(model, &lora).unwrap();
    assert_eq!(adapted.len(), 6 * config.num_hidden_layers);
    let experts = adapted
        .iter()
        .find(|w| w.path == "layers.1.mlp.experts.down_proj")
        .unwrap();
    let shape = [
        config.num_local_experts,
        config.intermediate_size,
        config.hidden_size,
    ];
    assert_eq!(experts.shape, shape);
    let per_expert = (config.intermediate_size + config.hidden_size) * lora.rank;
    assert_eq!(
        experts.trainable,
        (config.num_local_experts * per_expert) as u64
    );
    let total: u64 = adapted.iter().map(|weight| weight.trainable).sum();
    assert_eq!(lora.trainable(&config).unwrap(), total);
    let table = AdapterTable::new(&adapted);
    assert_eq!(table.trainable(), total);
    let text = table.to_string();
    assert!(text.contains("layers.mlp.experts.gate_up_proj"), "{text}");
}

#[test]
fn router_embedding_and_head_on_request_and_layers_by_number() {
    let lora = LoraConfig {
        targets: [
            "*router*",
            "lm_head.weight",
            "embed_tokens.weight",
            "*.q_proj.*",
        ]
        .map(String::from)
        .to_vec(),
        layers: Some(vec![1, 3]),
        ..LoraConfig::default()
    };
    let model = load_stored(FORM, &Device::flex());
    let (_, adapted) = insert_adapters(model, &lora).unwrap();
    let paths: Vec<_> = adapted.iter().map(|weight| weight.path.as_str()).collect();
    let expected = [
        "embed_tokens.weight",
        "layers.1.mlp.router.weight",
        "layers.1.self_attn.q_proj.weight",
        "layers.3.mlp.router.weight",
        "layers.3.self_attn.q_proj.weight",
        "lm_head.weight",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn factors_depend_on_seed_and_path_alone() {
    let device = Device::flex();
    let all = LoraConfig::default();
    let some = LoraConfig {
        targets: vec!["*.down_proj".into()],
        ..LoraConfig::default()
    };
    let other = LoraConfig {
        seed: 43,
        ..some.clone()
    };
    let [all, some, other] =
        [all, some, other].map(|lora| factors(&adapted(&lora, &device), &lora));
    let path = "layers.2.mlp.experts.down_proj";
    assert_eq!(all.factors[path], some.factors[path]);
    assert_ne!(some.factors[path].a, other.factors[path].a);
    let bound = 1.0 / (some.factors[path].shape[1] as f32).sqrt();
    let a = &some.factors[path].a;
    assert!(a.iter().all(|value| value.abs() <= bound));
    assert!(
        a.iter().any(|value| value.abs() > 0.9 * bound),
        "uniform up to the bound"
    );
    assert!(some.factors[path].b.iter().all(|value| *value == 0.0));
}

#[test]
fn fresh_adapters_change_nothing() {
    let device = Device::flex();
    let base = load_stored(FORM, &device);
    let ids = crate::golden::Array {
        shape: vec![1, 9],
        values: (3..12).collect(),
    };
    let logits = |model: &GptOss| values(&model.forward(int_tensor(&ids, &device), None));
    let model = adapted(&LoraConfig::default(), &device);
    assert_eq!(logits(&model), logits(&base));
    let policy = QuantPolicy::mxfp4_mlp_weight_only();
    let (rounded, weights) = round_adapters(model, &policy).unwrap();
    let n_rounded = weights
        .iter()
        .filter(|weight| weight.scheme.is_some())
        .count();
    assert_eq!(n_rounded, 2 * base.layers.len());
    // The base lies on the grid.
    assert_eq!(logits(&rounded), logits(&base));
}

#[test]
fn settings_out_of_range_are_named() {
    let with = |change: fn(&mut LoraConfig)| {
        let mut config = LoraConfig::default();
        change(&mut config);
        refused(config)
    };
    let message = with(|config| config.rank = 0);
    assert!(message.contains("`rank` is 0"), "{message}");
    let message = with(|config| config.alpha = f64::NAN);
    assert!(message.contains("`alpha` is NaN"), "{message}");
    let message = with(|config| config.dropout = 1.0);
    assert!(message.contains("`dropout` is 1"), "{message}");
    let message = with(|config| config.layers = Some(vec![0, 99]));
    assert!(
        message.contains("`layers` is 99, expected layers from 0 to 3"),
        "{message}"
    );
    let message = with(|config| config.layers = Some(Vec::new()));
    assert!(message.contains("`layers` is empty"), "{message}");
    let message = with(|config| config.targets.push("*.gate_proj".into()));
    assert!(
        message.contains("`*.gate_proj`, which matches none"),
        "{message}"
    );
    let message = with(|config| config.targets = vec!["[".into()]);
    assert!(message.contains("`targets`"), "{message}");
}

#[test]
fn a_policy_that_rounds_nothing_is_refused() {
    let mut policy = QuantPolicy::mxfp4_mlp_weight_only();
    policy.rules.iter_mut().for_each(|rule| rule.scheme = None);
    let model = adapted(&LoraConfig::default(), &Device::flex());
    let error = round_adapters(model, &policy).unwrap_err();
    assert!(matches!(error, QatError::Policy { .. }), "{error}");
}

#[test]
fn adapters_of_the_20b_fit_into_24_gb() {
    let config = GptOssConfig::gpt_oss_20b();
    let trainable = LoraConfig::default().trainable(&config).unwrap();
    assert!((90_000_000..95_000_000).contains(&trainable), "{trainable}");
    let train = TrainConfig {
        recompute_layers: true,
        micro_batch_size: 1,
        ..TrainConfig::default()
    };
    let lora = LoraConfig::default();
    let estimate = MemoryEstimate::adapters(&config, &lora, &train, 512, true).unwrap();
    assert!(estimate.total() < 4_000_000_000, "{estimate}");
}
