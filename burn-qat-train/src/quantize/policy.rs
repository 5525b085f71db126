use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Int, Tensor};
use burn_fp4::{ActivationFormat, Fp4Scheme};
use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Serialize};

use crate::error::QatError;

/// Which weights get which scheme: a list of rules of which the last match wins, as in ModelOpt's
/// configuration language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantPolicy {
    /// Name, for messages and tables.
    pub name: String,
    /// The rules, in order.
    pub rules: Vec<QuantRule>,
    /// What the inputs of all expert matrices are rounded to, by
    /// [`calibrate_activations`](super::calibrate_activations); none leaves them as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<ActivationFormat>,
}

/// One rule: a glob on the module path of a parameter (`*` also matches dots), and the scheme it
/// sets, or none to leave the weight alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantRule {
    /// The glob, as `*mlp*`.
    pub pattern: String,
    /// The scheme.
    pub scheme: Option<Fp4Scheme>,
}

impl QuantRule {
    /// A rule; no scheme leaves the weights alone.
    pub fn new(pattern: &str, scheme: Option<Fp4Scheme>) -> Self {
        Self {
            pattern: pattern.into(),
            scheme,
        }
    }
}

impl QuantPolicy {
    /// Rules for weights.
    pub fn new(name: &str, rules: Vec<QuantRule>) -> Self {
        Self {
            name: name.into(),
            rules,
            inputs: None,
        }
    }

    /// MXFP4 on the weights of all experts; router, attention, embedding, head, biases and norms are
    /// left alone. ModelOpt's `MXFP4_MLP_WEIGHT_ONLY_CFG`.
    pub fn mxfp4_mlp_weight_only() -> Self {
        Self::mlp_weight_only("mxfp4_mlp_weight_only", Fp4Scheme::mxfp4())
    }

    /// NVFP4 in blocks of 16 on the weights of all experts, as
    /// [`mxfp4_mlp_weight_only`](Self::mxfp4_mlp_weight_only) chooses them.
    ///
    /// ModelOpt's `NVFP4_MLP_WEIGHT_ONLY_CFG` names blocks of 32, but its training kernel computes
    /// with 16 all the same, and so do runtimes.
    pub fn nvfp4_mlp_weight_only() -> Self {
        Self::mlp_weight_only("nvfp4_mlp_weight_only", Fp4Scheme::nvfp4())
    }

    /// NVFP4 in blocks of 32, which few runtimes load, on the weights of all experts: what ModelOpt's
    /// `NVFP4_MLP_WEIGHT_ONLY_CFG` says.
    pub fn nvfp4_bs32_mlp_weight_only() -> Self {
        Self::mlp_weight_only("nvfp4_bs32_mlp_weight_only", Fp4Scheme::nvfp4_block32())
    }

    /// NVFP4 on the weights of all experts and on their inputs: ModelOpt's `NVFP4_MLP_ONLY_CFG`, and on gpt-oss, which has
    /// no other MLP, its `NVFP4_EXPERTS_ONLY_CFG`.
    pub fn nvfp4_mlp_only() -> Self {
        Self {
            inputs: Some(ActivationFormat::Fp4(Fp4Scheme::nvfp4())),
            ..Self::mlp_weight_only("nvfp4_mlp_only", Fp4Scheme::nvfp4())
        }
    }

    fn mlp_weight_only(name: &str, scheme: Fp4Scheme) -> Self {
        let rules = vec![
            QuantRule::new("*mlp*", Some(scheme)),
            QuantRule::new("*_bias", None),
            QuantRule::new("*router*", None),
            QuantRule::new("*lm_head*", None),
        ];
        Self::new(name, rules)
    }

    /// A preset by its name here or in ModelOpt (`mxfp4_mlp_weight_only`, `MXFP4_MLP_WEIGHT_ONLY_CFG`,
    /// `general/ptq/mxfp4_mlp_weight_only`). `NVFP4_MLP_WEIGHT_ONLY_CFG` gives blocks of 16, see
    /// [`nvfp4_mlp_weight_only`](Self::nvfp4_mlp_weight_only).
    ///
    /// # Errors
    /// An unknown name, with the known ones.
    pub fn preset(name: &str) -> Result<Self, QatError> {
        let short = name.rsplit('/').next().unwrap_or(name).to_lowercase();
        let short = short.strip_suffix("_cfg").unwrap_or(&short);
        let presets = [
            Self::mxfp4_mlp_weight_only(),
            Self::nvfp4_mlp_weight_only(),
            Self::nvfp4_bs32_mlp_weight_only(),
            Self::nvfp4_mlp_only(),
            Self {
                name: "nvfp4_experts_only".into(),
                ..Self::nvfp4_mlp_only()
            },
        ];
        let known = presets.each_ref().map(|preset| preset.name.clone());
        let found = presets.into_iter().find(|preset| preset.name == short);
        found.ok_or_else(|| QatError::Policy {
            policy: name.into(),
            message: format!("unknown preset; known: {}", known.join(", ")),
        })
    }

    /// Fails for a rule that matches no parameter. The rules of a preset need not match: it is made for many models.
    ///
    /// # Errors
    /// [`QatError::Policy`] with the pattern, and that of a malformed glob.
    pub(crate) fn check_rules(&self, paths: &ParameterPaths) -> Result<(), QatError> {
        let patterns = || self.rules.iter().map(|rule| &rule.pattern);
        let is_preset = Self::preset(&self.name)
            .is_ok_and(|preset| patterns().eq(preset.rules.iter().map(|rule| &rule.pattern)));
        let compiled = self.compile()?;
        let mut globs = compiled.0.iter().map(|(glob, _)| glob);
        match globs.find(|glob| !is_preset && !paths.0.iter().any(|path| glob.is_match(path))) {
            None => Ok(()),
            Some(glob) => Err(QatError::Policy {
                policy: self.name.clone(),
                message: format!(
                    "the pattern `{}` matches no weight of this model; patterns are matched against module paths \
                     such as `layers.0.mlp.experts.gate_up_proj`",
                    glob.glob()
                ),
            }),
        }
    }

    /// Compiles the globs.
    ///
    /// # Errors
    /// A malformed glob.
    pub(crate) fn compile(&self) -> Result<CompiledPolicy, QatError> {
        let compile = |rule: &QuantRule| {
            let glob = Glob::new(&rule.pattern).map_err(|error| QatError::Policy {
                policy: self.name.clone(),
                message: format!("pattern `{}`: {error}", rule.pattern),
            })?;
            Ok((glob.compile_matcher(), rule.scheme))
        };
        self.rules
            .iter()
            .map(compile)
            .collect::<Result<_, _>>()
            .map(CompiledPolicy)
    }
}

/// The paths of all parameters of a model; packed weights have the path of the parameter that they replace.
#[derive(Default)]
pub(crate) struct ParameterPaths(pub Vec<String>, Vec<String>);

impl ParameterPaths {
    pub(crate) fn of<M: Module>(model: &M) -> Self {
        let mut paths = Self::default();
        model.visit(&mut paths);
        paths
    }

    fn add(&mut self) {
        let path = self.1.join(".");
        self.0
            .push(path.strip_suffix(".codes").unwrap_or(&path).to_owned());
    }
}

impl ModuleVisitor for ParameterPaths {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.1.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.1.pop();
    }

    fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
        self.add();
    }

    fn visit_int<const D: usize>(&mut self, _: &Param<Tensor<D, Int>>) {
        self.add();
    }
}

/// A policy ready to match paths.
pub(crate) struct CompiledPolicy(Vec<(GlobMatcher, Option<Fp4Scheme>)>);

impl CompiledPolicy {
    /// The scheme of a parameter.
    pub(crate) fn scheme(&self, path: &str) -> Option<Fp4Scheme> {
        self.0
            .iter()
            .rev()
            .find(|(glob, _)| glob.is_match(path))
            .and_then(|(_, scheme)| *scheme)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preset_takes_expert_matrices_alone() {
        let policy = QuantPolicy::mxfp4_mlp_weight_only()
            .compile()
            .expect("valid globs");
        let taken = |path| policy.scheme(path).is_some();
        assert!(taken("layers.0.mlp.experts.gate_up_proj"));
        assert!(taken("layers.23.mlp.experts.down_proj"));
        for path in [
            "layers.0.mlp.experts.gate_up_proj_bias",
            "layers.0.mlp.experts.down_proj_bias",
            "layers.0.mlp.router.weight",
            "layers.0.self_attn.q_proj.weight",
            "embed_tokens.weight",
            "lm_head.weight",
            "norm.weight",
        ] {
            assert!(!taken(path), "{path}");
        }
    }

    #[test]
    fn names_of_modelopt_are_accepted() {
        for name in [
            "mxfp4_mlp_weight_only",
            "MXFP4_MLP_WEIGHT_ONLY_CFG",
            "general/ptq/mxfp4_mlp_weight_only",
        ] {
            assert_eq!(
                QuantPolicy::preset(name).expect(name),
                QuantPolicy::mxfp4_mlp_weight_only()
            );
        }
        let error = QuantPolicy::preset("nvfp5").expect_err("no such format");
        assert!(error.to_string().contains("nvfp4_bs32_mlp_weight_only"));
    }

    #[test]
    fn blocks_of_32_are_for_those_who_ask() {
        let block_size = |name| {
            let policy = QuantPolicy::preset(name).expect(name).compile();
            let scheme = policy.expect(name).scheme("layers.0.mlp.experts.down_proj");
            scheme.expect(name).block_size()
        };
        assert_eq!(block_size("nvfp4_mlp_weight_only"), 16);
        assert_eq!(block_size("NVFP4_MLP_WEIGHT_ONLY_CFG"), 16);
        assert_eq!(block_size("nvfp4_bs32_mlp_weight_only"), 32);
    }
}
