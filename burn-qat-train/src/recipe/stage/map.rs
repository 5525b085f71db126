//! Stages as a map that keeps its order.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserializer, Serializer};

use super::{Stage, StageMap};

pub fn serialize<S: Serializer>(stages: &StageMap, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(stages.iter().map(|(name, stage)| (name, stage)))
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StageMap, D::Error> {
    deserializer.deserialize_map(Stages)
}

struct Stages;

impl<'de> Visitor<'de> for Stages {
    type Value = StageMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stages by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StageMap, A::Error> {
        let mut stages = StageMap::new();
        while let Some((name, stage)) = map.next_entry::<String, Stage>()? {
            stages.push((name, stage));
        }
        Ok(stages)
    }
}
