//! `rope_scaling` and `rope_parameters` of config.json.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::checks::{require_positive, unsupported};
use crate::config::RopeConfig;
use crate::error::GptOssError;

/// `rope_scaling` (published) or `rope_parameters` (transformers 5, with `rope_theta` inside).
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct RopeJson {
    rope_type: Option<String>,
    /// What older files call `rope_type`.
    #[serde(rename = "type")]
    old_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    original_max_position_embeddings: Option<Value>,
    /// Absent is true, null is false, as in transformers.
    #[serde(default, deserialize_with = "given")]
    truncate: Option<Value>,
    attention_factor: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    partial_rotary_factor: Option<f64>,
    /// Keys that would change the rotation in a way nobody here knows.
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

/// The base where no file says one.
const THETA: f64 = 150_000.0;

/// A value that is there, null included.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What the rotation takes from the rest of the file.
pub(super) struct RopeContext {
    pub(super) rope_theta: Option<f64>,
    pub(super) max_position_embeddings: usize,
    pub(super) original_max_position_embeddings: Option<usize>,
    pub(super) partial_rotary_factor: Option<f64>,
}

impl RopeJson {
    /// The one that is there, or both if they say the same: loaders differ in which they take.
    pub(super) fn one_of<'a>(
        parameters: Option<&'a Self>,
        scaling: Option<&'a Self>,
        theta: Option<f64>,
    ) -> Result<(&'static str, &'a Self), GptOssError> {
        match (parameters, scaling) {
            (Some(new), Some(old)) if !new.agrees_with(old, theta) => Err(unsupported(
                "rope_parameters",
                "the same as `rope_scaling` (remove the one that is wrong)",
                "another rotation",
            )),
            (Some(json), _) => Ok(("rope_parameters", json)),
            (None, Some(json)) => Ok(("rope_scaling", json)),
            (None, None) => Err(unsupported("rope_scaling", "YaRN parameters", "absent")),
        }
    }

    /// They may differ in the spelling of the type, and in where each takes the same base from.
    fn agrees_with(&self, other: &Self, theta: Option<f64>) -> bool {
        let plain = |json: &Self| Self {
            rope_type: json.kind().map(str::to_owned),
            old_type: None,
            rope_theta: Some(json.rope_theta.or(theta).unwrap_or(THETA)),
            ..json.clone()
        };
        plain(self) == plain(other)
    }

    fn kind(&self) -> Option<&str> {
        self.rope_type.as_deref().or(self.old_type.as_deref())
    }

    /// The rotation, as transformers 5 computes it from the same file.
    pub(super) fn config(
        &self,
        key: &str,
        context: &RopeContext,
    ) -> Result<RopeConfig, GptOssError> {
        self.check(key, context)?;
        let original = self
            .original(key)?
            .or(context.original_max_position_embeddings)
            .unwrap_or(context.max_position_embeddings);
        let factor = self.factor.ok_or_else(|| {
            let key = format!("{key}.factor");
            unsupported(&key, "a positive number", "absent")
        })?;
        let rope = RopeConfig {
            theta: self.rope_theta.or(context.rope_theta).unwrap_or(THETA),
            factor,
            beta_fast: self.beta_fast.unwrap_or(32.0),
            beta_slow: self.beta_slow.unwrap_or(1.0),
            original_max_position_embeddings: original,
            truncate: self.truncate(key)?,
            attention_factor: self.attention_factor.or_else(|| self.mscaled(factor)),
        };
        for (name, value) in [
            ("rope_theta", rope.theta),
            ("factor", rope.factor),
            ("beta_fast", rope.beta_fast),
            ("beta_slow", rope.beta_slow),
            ("original_max_position_embeddings", original as f64),
            ("attention_factor", rope.attention_factor.unwrap_or(1.0)),
        ] {
            require_positive(&format!("{key}.{name}"), value)?;
        }
        Ok(rope)
    }

    fn original(&self, key: &str) -> Result<Option<usize>, GptOssError> {
        let Some(value) = &self.original_max_position_embeddings else {
            return Ok(None);
        };
        let length = value
            .as_u64()
            .and_then(|length| usize::try_from(length).ok());
        length.map(Some).ok_or_else(|| {
            let key = format!("{key}.original_max_position_embeddings");
            unsupported(&key, "a positive number", value)
        })
    }

    fn truncate(&self, key: &str) -> Result<bool, GptOssError> {
        match &self.truncate {
            None => Ok(true),
            Some(Value::Null) => Ok(false),
            Some(Value::Bool(truncate)) => Ok(*truncate),
            Some(other) => Err(unsupported(
                &format!("{key}.truncate"),
                "true or false",
                other,
            )),
        }
    }

    /// The factor that `mscale` and `mscale_all_dim` give together; one of them alone has no effect.
    fn mscaled(&self, factor: f64) -> Option<f64> {
        let nonzero = |value: Option<f64>| value.filter(|value| *value != 0.0);
        let (up, down) = (nonzero(self.mscale)?, nonzero(self.mscale_all_dim)?);
        let scaled = |mscale: f64| match factor <= 1.0 {
            true => 1.0,
            false => 0.1 * mscale * factor.ln() + 1.0,
        };
        Some(scaled(up) / scaled(down))
    }

    fn check(&self, key: &str, context: &RopeContext) -> Result<(), GptOssError> {
        let named = |name: &str| format!("{key}.{name}");
        if let Some((name, value)) = self.unknown.iter().next() {
            let expected = "no such key: what it does to the rotation is not known here";
            return Err(unsupported(&named(name), expected, value));
        }
        let kinds = self.rope_type.as_ref().zip(self.old_type.as_ref());
        if let Some((_, old)) = kinds.filter(|(new, old)| new != old) {
            return Err(unsupported(
                &named("type"),
                "the value of rope_type",
                format!("{old:?}"),
            ));
        }
        match self.kind() {
            Some("yarn") => {}
            Some(kind) => {
                return Err(unsupported(
                    &named("rope_type"),
                    "\"yarn\"",
                    format!("{kind:?}"),
                ));
            }
            None => return Err(unsupported(&named("rope_type"), "\"yarn\"", "absent")),
        }
        let inner = self.partial_rotary_factor;
        let partial = inner.or(context.partial_rotary_factor);
        if let Some(partial) = partial.filter(|partial| *partial != 1.0) {
            return Err(unsupported(&named("partial_rotary_factor"), "1.0", partial));
        }
        let theta = self.rope_theta.zip(context.rope_theta);
        if let Some((inside, outside)) = theta.filter(|(a, b)| a != b) {
            let expected = format!("{inside} as in `{key}`");
            return Err(unsupported("rope_theta", &expected, outside));
        }
        let originals = [
            self.original(key)?,
            context.original_max_position_embeddings,
        ];
        match originals {
            [Some(inside), Some(outside)] if inside != outside => Err(unsupported(
                "original_max_position_embeddings",
                &format!("{inside} as in `{key}`"),
                outside,
            )),
            _ => Ok(()),
        }
    }
}

/// Writes the parameters in the form the document already uses, else in the published one.
pub(super) fn write(rope: &RopeConfig, doc: &mut Map<String, Value>) {
    let new_form = doc.contains_key("rope_parameters");
    // Two that agree stay two that agree.
    let both = new_form && doc.contains_key("rope_scaling");
    let keys: &[&str] = match (both, new_form) {
        (true, _) => &["rope_parameters", "rope_scaling"],
        (false, true) => &["rope_parameters"],
        (false, false) => &["rope_scaling"],
    };
    for key in keys {
        let entry = doc.entry(*key).or_insert_with(|| json!({}));
        entry["beta_fast"] = json!(rope.beta_fast);
        entry["beta_slow"] = json!(rope.beta_slow);
        entry["factor"] = json!(rope.factor);
        entry["original_max_position_embeddings"] = json!(rope.original_max_position_embeddings);
        entry["rope_type"] = json!("yarn");
        entry["truncate"] = json!(rope.truncate);
        if let Some(factor) = rope.attention_factor {
            entry["attention_factor"] = json!(factor);
        }
    }
    if new_form {
        doc["rope_parameters"]["rope_theta"] = json!(rope.theta);
    }
    if !new_form || doc.contains_key("rope_theta") {
        doc.insert("rope_theta".into(), json!(rope.theta));
    }
}
