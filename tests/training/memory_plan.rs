//! The table of docs/memory.md is what the plan computes.

use burn_gpt_oss::GptOssConfig;
use burn_qat_train::{LoraConfig, MemoryPlan, TrainConfig};

const DOCUMENT: &str = include_str!("../../docs/memory.md");

/// Free memory in GB that machines have.
const SIZES: [u64; 5] = [16, 24, 48, 80, 141];

fn table() -> String {
    let train = TrainConfig {
        batch_size: 1,
        micro_batch_size: 1,
        ..TrainConfig::default()
    };
    let models = [
        ("20b", GptOssConfig::gpt_oss_20b()),
        ("120b", GptOssConfig::gpt_oss_120b()),
    ];
    let mut lines = String::from("| model | settings | memory | fits into |\n|---|---|--:|--:|");
    for (name, config) in models {
        let plan = MemoryPlan::new(&config, &LoraConfig::default(), &train, 4096, None).unwrap();
        for way in plan.ways {
            let total = way.estimate.total() as f64 / 1e9;
            let size = SIZES.into_iter().find(|size| total <= *size as f64);
            let size = size.map_or("-".into(), |size| format!("{size} GB"));
            let settings = way.settings;
            lines.push_str(&format!(
                "\n| {name} | {settings} | {total:.1} GB | {size} |"
            ));
        }
    }
    lines
}

#[test]
fn the_document_has_the_table_that_is_computed() {
    let table = table();
    assert!(
        DOCUMENT.contains(&table),
        "expected in docs/memory.md:\n{table}"
    );
}
