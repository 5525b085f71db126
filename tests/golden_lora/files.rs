//! The files of PEFT, read and written.

use std::fs;

use burn_gpt_oss::AdapterDialect;
use serde_json::Value;

use crate::adapter;
use crate::golden::{Golden, directory};
use crate::model::open;

fn json(path: &std::path::Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Lists whose order means nothing.
fn sorted(mut config: Value) -> Value {
    for key in ["target_modules", "target_parameters"] {
        if let Some(Value::Array(list)) = config.get_mut(key) {
            list.sort_by_key(Value::to_string);
        }
    }
    config
}

#[test]
fn what_is_written_is_what_peft_wrote() {
    let reader = open("tiny-gpt-oss-bf16");
    let model = reader.config().init(&burn::tensor::Device::flex());
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("adapter");
    let read = adapter(&model);
    read.save(&target, reader.config(), AdapterDialect::Peft, false)
        .unwrap();

    let golden = directory().join("lora/adapter");
    let name = "adapter_config.json";
    assert_eq!(
        sorted(json(&target.join(name))),
        sorted(json(&golden.join(name)))
    );
    let expected = Golden::open("lora/adapter/adapter_model.safetensors");
    let bytes = fs::read(target.join("adapter_model.safetensors")).unwrap();
    let written = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(written.len(), expected.keys("").len());
    for (name, view) in written.iter() {
        let expected = expected.f32(name);
        assert_eq!(view.shape(), expected.shape, "{name}");
        let values = expected.values.iter().flat_map(|value| value.to_le_bytes());
        assert!(view.data().iter().copied().eq(values), "{name}");
    }
    expected.finish(&[]);
}
