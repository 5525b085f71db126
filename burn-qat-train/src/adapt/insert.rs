use burn::module::{Module, ParamGroup};
use burn_fp4::{Fp4Scheme, LowRankAdapter};
use burn_gpt_oss::{AdapterCheckpoint, ExpertWeight, Factors, GptOss};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::LoraConfig;
use crate::error::QatError;
use crate::fnv::Fnv;
use crate::quantize::{ParameterPaths, QuantPolicy};

/// A weight that has an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdaptedWeight {
    /// Module path of the weight.
    pub path: String,
    /// `[experts, in, out]`, one expert for a single matrix.
    pub shape: [usize; 3],
    /// Numbers that train.
    pub trainable: u64,
    /// What the sum is rounded to.
    pub scheme: Option<Fp4Scheme>,
}

/// Freezes a model and gives the chosen weights adapters that change nothing yet: `a` is uniform within
/// `1 / sqrt(in)`, `b` zero, as PEFT does it. Factors depend on the seed and the path of their weight alone.
///
/// # Errors
/// Settings out of range, and a target that matches no weight that can have an adapter.
pub fn insert_adapters(
    model: GptOss,
    config: &LoraConfig,
) -> Result<(GptOss, Vec<AdaptedWeight>), QatError> {
    let mut checkpoint = AdapterCheckpoint {
        settings: config.settings(""),
        factors: Default::default(),
    };
    for (path, shape) in chosen(&model, config)? {
        let factors = first_factors(&path, shape, config);
        checkpoint.factors.insert(path, factors);
    }
    let model = checkpoint.attach(model)?;
    let adapted = adapted_weights(&model);
    Ok((model, adapted))
}

/// The weights that get an adapter.
pub(super) fn chosen(
    model: &GptOss,
    config: &LoraConfig,
) -> Result<Vec<(String, [usize; 3])>, QatError> {
    config.check(model.config().num_hidden_layers)?;
    let globs = config.compile()?;
    let mut matched = vec![false; config.targets.len()];
    let mut chosen = Vec::new();
    for (path, shape) in candidates(model) {
        let hits = globs.matches(&path);
        if hits.is_empty() || !in_layers(&path, config) {
            continue;
        }
        hits.into_iter().for_each(|target| matched[target] = true);
        chosen.push((path, shape));
    }
    if let Some(unmatched) = matched.iter().position(|matched| !matched) {
        return Err(QatError::Setting {
            key: "targets",
            expected: "globs that match weights of these layers, such as \
                       `layers.0.self_attn.q_proj.weight` or `layers.0.mlp.experts.down_proj`"
                .into(),
            found: format!("`{}`, which matches none", config.targets[unmatched]),
        });
    }
    Ok(chosen)
}

/// Gives the adapters of the weights that a policy chooses its quantizers, or takes them away where it chooses
/// none. Weights without an adapter stay as they are.
///
/// # Errors
/// A policy that rounds no adapted weight and no packed one, and a weight with a width that is no multiple of
/// the block.
pub fn round_adapters(
    mut model: GptOss,
    policy: &QuantPolicy,
) -> Result<(GptOss, Vec<AdaptedWeight>), QatError> {
    policy.check_rules(&ParameterPaths::of(&model))?;
    let compiled = policy.compile()?;
    let refuse = |message: String| QatError::Policy {
        policy: policy.name.clone(),
        message,
    };
    let mut n_rounded = 0;
    for (path, weight) in model.expert_weights_mut() {
        let Some(adapter) = weight.adapter().cloned() else {
            n_rounded += usize::from(weight.scheme().is_some());
            continue;
        };
        let scheme = compiled.scheme(&path);
        if let Some(scheme) = scheme {
            let [_, d_input, _] = weight.shape();
            if !d_input.is_multiple_of(scheme.block_size()) {
                return Err(refuse(format!(
                    "`{path}` has {d_input} inputs, no multiple of the {} elements of a block",
                    scheme.block_size()
                )));
            }
            n_rounded += 1;
        }
        *weight = with_scheme(weight.clone(), adapter, scheme);
    }
    match n_rounded {
        0 => Err(refuse(
            "rounds no weight of this model, which has no adapter on an expert matrix and none that is \
             packed"
                .into(),
        )),
        _ => {
            let adapted = adapted_weights(&model);
            Ok((model, adapted))
        }
    }
}

/// Takes the quantizers of adapters away: rows are multiplied with the weight and the factors one after the other.
pub fn unround_adapters(mut model: GptOss) -> GptOss {
    for (_, weight) in model.expert_weights_mut() {
        if let Some(adapter) = weight.adapter().cloned() {
            *weight = with_scheme(weight.clone(), adapter, None);
        }
    }
    model
}

fn with_scheme(
    weight: ExpertWeight,
    adapter: LowRankAdapter<3>,
    scheme: Option<Fp4Scheme>,
) -> ExpertWeight {
    let adapter = adapter.with_quantizer(None, None);
    let adapter = match scheme {
        None => adapter,
        Some(scheme) => {
            let base = weight.clone().without_adapter();
            adapter.quantized_for(&base.matrices(), scheme)
        }
    };
    weight.with_adapter(adapter)
}

/// The parameters that train where a model has adapters.
pub(crate) fn factor_group() -> ParamGroup {
    ParamGroup::from_regex(r"\.lora\.[ab]$").expect("a valid pattern")
}

/// Whether a path is that of a factor of an adapter.
pub(crate) fn is_factor(path: &str) -> bool {
    path.ends_with(".lora.a") || path.ends_with(".lora.b")
}

/// Whether a module has adapters.
pub(crate) fn has_factors<M: Module>(module: &M) -> bool {
    let paths = ParameterPaths::of(module).0;
    paths.iter().any(|path| is_factor(path))
}

fn candidates(model: &GptOss) -> Vec<(String, [usize; 3])> {
    let matrices = model.matrices().into_iter().map(|(path, weight)| {
        let [d_input, d_output] = weight.lazy_shape().dims();
        (path, [1, d_input, d_output])
    });
    let experts = model
        .expert_weights()
        .map(|(path, weight)| (path, weight.shape()));
    matrices.chain(experts).collect()
}

fn in_layers(path: &str, config: &LoraConfig) -> bool {
    let Some(layers) = &config.layers else {
        return true;
    };
    let layer = path.strip_prefix("layers.");
    let layer = layer.and_then(|rest| rest.split('.').next()?.parse().ok());
    layer.is_none_or(|layer| layers.contains(&layer))
}

fn first_factors(path: &str, shape: [usize; 3], config: &LoraConfig) -> Factors {
    let [experts, d_input, d_output] = shape;
    let bound = 1.0 / (d_input as f32).sqrt();
    let mut rng = StdRng::seed_from_u64(config.seed ^ Fnv::of(path));
    let n = experts * d_input * config.rank;
    Factors {
        a: (0..n).map(|_| rng.random_range(-bound..bound)).collect(),
        b: vec![0.0; experts * config.rank * d_output],
        shape,
        rank: config.rank,
    }
}

/// The weights of a model that have an adapter.
fn adapted_weights(model: &GptOss) -> Vec<AdaptedWeight> {
    let trainable = |[experts, d_input, d_output]: [usize; 3], rank: usize| {
        (experts * rank * (d_input + d_output)) as u64
    };
    let matrices = model.matrices().into_iter().filter_map(|(path, weight)| {
        let adapter = weight.reparameterization::<LowRankAdapter<2>>()?;
        let [d_input, d_output] = weight.lazy_shape().dims();
        let shape = [1, d_input, d_output];
        Some(AdaptedWeight {
            path,
            shape,
            trainable: trainable(shape, adapter.rank()),
            scheme: adapter.scheme(),
        })
    });
    let experts = model.expert_weights().filter_map(|(path, weight)| {
        let adapter = weight.adapter()?;
        Some(AdaptedWeight {
            path,
            shape: weight.shape(),
            trainable: trainable(weight.shape(), adapter.rank()),
            scheme: adapter.scheme(),
        })
    });
    let mut adapted: Vec<_> = matrices.chain(experts).collect();
    adapted.sort_by(|a, b| a.path.cmp(&b.path));
    adapted
}
