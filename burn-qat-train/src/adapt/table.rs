use std::collections::BTreeMap;
use std::fmt;

use super::AdaptedWeight;

/// Trainable parameters of adapters by group: the path without the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterTable {
    groups: BTreeMap<String, Group>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Group {
    weights: usize,
    rounded: usize,
    trainable: u64,
}

impl AdapterTable {
    /// The groups of these weights.
    pub fn new(adapted: &[AdaptedWeight]) -> Self {
        let mut groups = BTreeMap::<String, Group>::new();
        for weight in adapted {
            let group = groups.entry(group_of(&weight.path)).or_default();
            group.weights += 1;
            group.rounded += usize::from(weight.scheme.is_some());
            group.trainable += weight.trainable;
        }
        Self { groups }
    }

    /// Numbers that train, in all groups.
    pub fn trainable(&self) -> u64 {
        self.groups.values().map(|group| group.trainable).sum()
    }
}

fn group_of(path: &str) -> String {
    let parts = path
        .split('.')
        .filter(|part| part.parse::<usize>().is_err());
    parts.collect::<Vec<_>>().join(".")
}

impl fmt::Display for AdapterTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .groups
            .keys()
            .map(String::len)
            .max()
            .unwrap_or(0)
            .max(5);
        writeln!(f, "{:<width$}  weights  rounded   trainable", "group")?;
        for (name, group) in &self.groups {
            let Group {
                weights,
                rounded,
                trainable,
            } = group;
            writeln!(
                f,
                "{name:<width$}  {weights:>7}  {rounded:>7}  {trainable:>10}"
            )?;
        }
        write!(
            f,
            "{:<width$}  {:>7}  {:>7}  {:>10}",
            "total",
            "",
            "",
            self.trainable()
        )
    }
}
