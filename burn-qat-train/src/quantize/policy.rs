use burn_fp4::Fp4Scheme;
use globset::{Glob, GlobMatcher};
use serde::{Deserialize, Serialize};

use crate::QatError;

/// Which weights get which scheme: a list of rules of which the last match wins, as in ModelOpt's
/// configuration language.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantPolicy {
    /// Name, for messages and tables.
    pub name: String,
    /// The rules, in order.
    pub rules: Vec<QuantRule>,
}

/// One rule: a glob on the module path of a parameter (`*` also matches dots), and the scheme it
/// sets, or none to leave the weight alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantRule {
    /// The glob, as `*mlp*`.
    pub pattern: String,
    /// The scheme.
    pub scheme: Option<Fp4Scheme>,
}

impl QuantRule {
    fn new(pattern: &str, scheme: Option<Fp4Scheme>) -> Self {
        Self {
            pattern: pattern.into(),
            scheme,
        }
    }
}

impl QuantPolicy {
    /// MXFP4 on the weights of all experts; router, attention, embedding, head, biases and norms are
    /// left alone. ModelOpt's `MXFP4_MLP_WEIGHT_ONLY_CFG`.
    pub fn mxfp4_mlp_weight_only() -> Self {
        let mxfp4 = Some(Fp4Scheme::mxfp4());
        Self {
            name: "mxfp4_mlp_weight_only".into(),
            rules: vec![
                QuantRule::new("*mlp*", mxfp4),
                QuantRule::new("*_bias", None),
                QuantRule::new("*router*", None),
                QuantRule::new("*lm_head*", None),
            ],
        }
    }

    /// A preset by its name here or in ModelOpt (`mxfp4_mlp_weight_only`, `MXFP4_MLP_WEIGHT_ONLY_CFG`,
    /// `general/ptq/mxfp4_mlp_weight_only`).
    ///
    /// # Errors
    /// An unknown name, with the known ones.
    pub fn preset(name: &str) -> Result<Self, QatError> {
        let short = name.rsplit('/').next().unwrap_or(name).to_lowercase();
        match short.strip_suffix("_cfg").unwrap_or(&short) {
            "mxfp4_mlp_weight_only" => Ok(Self::mxfp4_mlp_weight_only()),
            _ => Err(QatError::Policy {
                policy: name.into(),
                message: "unknown preset; known: mxfp4_mlp_weight_only".into(),
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
        assert!(QuantPolicy::preset("nvfp5").is_err());
    }
}
