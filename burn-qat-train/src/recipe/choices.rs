//! Values that may be written in more than one way.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::QatError;
use crate::quantize::{PtqMethod, QuantPolicy, QuantRule};

/// A preset by its name, or rules of which the last match wins.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PolicyChoice {
    /// A name that [`QuantPolicy::preset`] knows.
    Preset(String),
    /// Rules: globs on module paths, each with a scheme or none.
    Rules(Vec<QuantRule>),
}

impl<'de> Deserialize<'de> for PolicyChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChoiceVisitor)
    }
}

/// Text or a list: an untagged enum would not say what is wrong in a rule.
struct ChoiceVisitor;

impl<'de> Visitor<'de> for ChoiceVisitor {
    type Value = PolicyChoice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a preset, or a list of rules with `pattern` and `scheme`")
    }

    fn visit_str<E>(self, name: &str) -> Result<PolicyChoice, E> {
        Ok(PolicyChoice::Preset(name.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PolicyChoice, A::Error> {
        let mut rules = Vec::new();
        while let Some(rule) = list.next_element()? {
            rules.push(rule);
        }
        Ok(PolicyChoice::Rules(rules))
    }
}

impl PolicyChoice {
    /// The policy.
    ///
    /// # Errors
    /// An unknown preset, with the known ones.
    pub fn policy(&self) -> Result<QuantPolicy, QatError> {
        match self {
            Self::Preset(name) => QuantPolicy::preset(name),
            Self::Rules(rules) => Ok(QuantPolicy::new("rules", rules.clone())),
        }
    }
}

/// Ways to round the result of a stage: `true` for the nearest code, `false` for none, one name, or a list of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PtqMethods(Vec<PtqMethod>);

impl PtqMethods {
    /// The methods, each once.
    pub fn iter(&self) -> impl Iterator<Item = PtqMethod> + '_ {
        self.0.iter().copied()
    }

    /// Whether nothing is rounded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for PtqMethods {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [] => serializer.serialize_bool(false),
            [PtqMethod::Nearest] => serializer.serialize_bool(true),
            methods => methods.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for PtqMethods {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MethodsVisitor)
    }
}

struct MethodsVisitor;

impl<'de> Visitor<'de> for MethodsVisitor {
    type Value = PtqMethods;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false, or a list of `nearest`, `mse`, `gptq`")
    }

    fn visit_bool<E>(self, nearest: bool) -> Result<PtqMethods, E> {
        let methods = nearest.then_some(PtqMethod::Nearest);
        Ok(PtqMethods(methods.into_iter().collect()))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<PtqMethods, E> {
        let method = PtqMethod::deserialize(serde::de::value::StrDeserializer::<E>::new(name))?;
        Ok(PtqMethods(vec![method]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PtqMethods, A::Error> {
        let mut methods = Vec::new();
        while let Some(method) = list.next_element()? {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
        Ok(PtqMethods(methods))
    }
}

/// [`GlobalRefresh`](crate::quantize::GlobalRefresh) as `dynamic`, `frozen`, or a number of steps.
pub(super) mod refresh {
    use std::fmt;
    use std::num::NonZeroUsize;

    use serde::de::{Error, Unexpected, Visitor};
    use serde::{Deserializer, Serializer};

    use crate::quantize::GlobalRefresh;

    pub fn serialize<S: Serializer>(refresh: &GlobalRefresh, to: S) -> Result<S::Ok, S::Error> {
        match refresh {
            GlobalRefresh::Dynamic => to.serialize_str("dynamic"),
            GlobalRefresh::Frozen => to.serialize_str("frozen"),
            GlobalRefresh::Every(steps) => to.serialize_u64(steps.get() as u64),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<GlobalRefresh, D::Error> {
        from.deserialize_any(Refresh)
    }

    struct Refresh;

    impl Visitor<'_> for Refresh {
        type Value = GlobalRefresh;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("`dynamic`, `frozen`, or a number of steps from 1")
        }

        fn visit_str<E: Error>(self, name: &str) -> Result<GlobalRefresh, E> {
            match name {
                "dynamic" => Ok(GlobalRefresh::Dynamic),
                "frozen" => Ok(GlobalRefresh::Frozen),
                other => Err(E::invalid_value(Unexpected::Str(other), &self)),
            }
        }

        fn visit_u64<E: Error>(self, steps: u64) -> Result<GlobalRefresh, E> {
            let number = NonZeroUsize::new(steps as usize);
            let refused = || E::invalid_value(Unexpected::Unsigned(steps), &self);
            number.map(GlobalRefresh::Every).ok_or_else(refused)
        }
    }
}
