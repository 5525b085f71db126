//! What a mistake in a recipe or an override is answered with.

use std::path::Path;

use burn_qat_train::RecipeSource;

use crate::{NAME, SMALL};

/// What is wrong, in a file or an override, and what the answer says.
#[test]
fn mistakes_are_answered_with_what_to_do() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        // A wrong key, with the nearest spelling, the line and the whole path.
        (
            "stages:\n  sft:\n    steps: 3\n    lerning_rate: 1\n",
            &[],
            &[
                "my.yaml:4",
                "`stages.sft.lerning_rate`",
                "did you mean `learning_rate`?",
            ],
        ),
        (
            "modle: x\nstages: {sft: {}}\n",
            &[],
            &["my.yaml:1", "`modle`", "`model`"],
        ),
        // The names of other tools.
        (
            "train:\n  num_train_epochs: 1\nstages: {sft: {}}\n",
            &[],
            &["my.yaml:2", "did you mean `epochs`?"],
        ),
        (
            "train: {lr: 1}\nstages: {sft: {}}\n",
            &[],
            &["did you mean `learning_rate`?"],
        ),
        // Nothing is like it: all keys.
        (
            "lora: {zzz: 1}\nstages: {sft: {}}\n",
            &[],
            &["`lora.zzz`", "expected one of", "targets"],
        ),
        // The line of the key, also where its value begins on the next one.
        (
            "seed: 1\ntrian:\n  steps: 3\nstages: {sft: {}}\n",
            &[],
            &["my.yaml:2", "`trian`", "did you mean `train`?"],
        ),
        (
            "stages:\n  first:\n    steps: 3\n",
            &[],
            &["my.yaml:2", "`stages.first.method`"],
        ),
        // Rules are looked into.
        (
            "quantize:\n  - pattern: '*experts*'\n    shceme: null\nstages: {sft: {}}\n",
            &[],
            &["my.yaml:1", "`shceme`", "`pattern`"],
        ),
        (
            "quantize: {a: 1}\nstages: {sft: {}}\n",
            &[],
            &["`quantize` is one value"],
        ),
        // A wrong type.
        (
            "stages:\n  sft:\n    steps: many\n",
            &[],
            &[
                "my.yaml:3",
                "`stages.sft.steps` is \"many\"",
                "a whole number",
            ],
        ),
        (
            "stages:\n  sft:\n    learning_rate: [1]\n",
            &[],
            &["my.yaml:3", "a number"],
        ),
        (
            "dataset:\n  skip_bad_rows: maybe\nstages: {sft: {}}\n",
            &[],
            &["my.yaml:2", "true or false"],
        ),
        (
            "stages: {sft: {steps: 1.5}}\n",
            &[],
            &["1.5", "a whole number"],
        ),
        (
            "train: 3\nstages: {sft: {}}\n",
            &[],
            &["`train` is 3", "a map"],
        ),
        (
            "seed:\n  a: 1\nstages: {sft: {}}\n",
            &[],
            &["`seed` is one value", "`a`"],
        ),
        (
            "stages: {sft: {ptq: gpqt}}\n",
            &[],
            &["`stages.sft.ptq`", "`nearest`, `mse`, `gptq`"],
        ),
        (
            "stages:\n  qat: {}\n  more:\n    method: qat\n    from: qat\n    learned_scales: true\n",
            &[],
            &["my.yaml:5", "`learned_scales`", "those of `qat`"],
        ),
        (
            "train: {report_to: [tensorbord]}\nstages: {sft: {}}\n",
            &[],
            &["`stages.sft.report_to[0]`", "`csv`", "`tensorboard`"],
        ),
        (
            "lora: {}\nquantize: nvfp4_mlp_only\nstages: {qat: {}}\n",
            &[],
            &["my.yaml:2", "rounds inputs", "nvfp4_mlp_weight_only"],
        ),
        (
            "lora: {}\nstages:\n  qat:\n    learned_scales: true\n",
            &[],
            &["my.yaml:4", "`learned_scales`", "leave them out, or `lora`"],
        ),
        (
            "stages: {qat: {gradient: clipped}}\n",
            &[],
            &[
                "`stages.qat.gradient`",
                "`straight_through` or `clip_aware`",
            ],
        ),
        (
            "stages: {qat: {global_refresh: sometimes}}\n",
            &[],
            &[
                "`stages.qat.global_refresh`",
                "`frozen`, or a number of steps",
            ],
        ),
        (
            "train: {lr_scheduler_type: linear}\nstages: {sft: {}}\n",
            &[],
            &["did you mean `lr_scheduler`?"],
        ),
        (
            "train: {lr_scheduler: cosin}\nstages: {sft: {}}\n",
            &[],
            &["`stages.sft.lr_scheduler`", "`cosine`"],
        ),
        (
            "train: {parameter_groups: [{patern: 'x*'}]}\nstages: {sft: {}}\n",
            &[],
            &["`patern`", "`pattern`"],
        ),
        (
            "train: {frozen: ['[']}\nstages: {sft: {}}\n",
            &[],
            &["`stages.sft.frozen`", "globs"],
        ),
        (
            "lora: {}\ntrain:\n  frozen: ['embed*']\nstages: {sft: {}}\n",
            &[],
            &["my.yaml:3", "`lora.targets`"],
        ),
        // A wrong unit or range.
        (
            "train: {early_stopping: 0}\nstages: {sft: {}}\n",
            &[],
            &["`stages.sft.early_stopping`", "a whole number, 1 or more"],
        ),
        (
            "stages: {sft: {steps: 10, warmup_steps: 11}}\n",
            &[],
            &["`stages.sft.warmup_steps` is 11", "at most the 10 steps"],
        ),
        (
            "dataset: {calibration_rows: 0}\nstages: {sft: {ptq: gptq}}\n",
            &[],
            &["`dataset.calibration_rows` is 0", "`gptq`"],
        ),
        (
            "dataset:\n  eval_fraction: 10\nstages: {sft: {}}\n",
            &[],
            &["my.yaml:2", "as 0.1 for 10 %"],
        ),
        (
            "train: {warmup_ratio: 3}\nstages: {sft: {}}\n",
            &[],
            &["`stages.sft.warmup_ratio` is 3", "from 0 to 1"],
        ),
        (
            "stages: {sft: {learning_rate: -1}}\n",
            &[],
            &["a positive number"],
        ),
        ("stages: {sft: {batch_size: 0}}\n", &[], &["at least 1"]),
        (
            "evaluation: {batch_size: 0}\nstages: {sft: {}}\n",
            &[],
            &["`evaluation.batch_size` is 0", "1 or more"],
        ),
        (
            "train: {global_refresh: 0}\nstages: {sft: {}}\n",
            &[],
            &["a number of steps from 1"],
        ),
        (
            "lora:\n  dropout: 0.1\ntrain: {recompute_layers: true}\nstages: {sft: {}}\n",
            &[],
            &["my.yaml:2", "`lora.dropout`", "recompute_layers"],
        ),
        (
            "train:\n  layer_wise: true\n  masters: split42\nstages: {sft: {}}\n",
            &[],
            &["my.yaml:3", "split42", "did you mean `split24`?"],
        ),
        (
            "lora: {}\ntrain:\n  layer_wise: true\nstages: {sft: {}}\n",
            &[],
            &["my.yaml:3", "adapters are trained"],
        ),
        (
            "stages:\n  sft: {}\n  qad:\n    from: sft\n    teacher: sft\n    layer_wise: true\n",
            &[],
            &[
                "`stages.qad.masters` is \"split24\"",
                "f32 where a teacher teaches",
            ],
        ),
        (
            "stages:\n  sft: {layer_wise: true}\n  qat: {from: sft}\n",
            &[],
            &["my.yaml:3", "whose matrices have 16 bits"],
        ),
        (
            "lora: {rank: 0}\nstages: {sft: {}}\n",
            &[],
            &["`lora.rank` is 0", "1 or more"],
        ),
        // An unknown name.
        (
            "quantize: nvfp7\nstages: {sft: {}}\n",
            &[],
            &["my.yaml:1", "nvfp7", "mxfp4_mlp_weight_only"],
        ),
        (
            "stages:\n  first:\n    method: qta\n",
            &[],
            &["my.yaml:3", "\"qta\"", "did you mean `qat`?"],
        ),
        (
            "stages:\n  first: {}\n",
            &[],
            &["`stages.first.method`", "`sft`", "`qat`"],
        ),
        (
            "dataset: {loss_mask: asistant}\nstages: {sft: {}}\n",
            &[],
            &["did you mean `assistant`?"],
        ),
        // Stages that do not fit each other.
        (
            "stages:\n  sft: {}\n  qat:\n    from: stf\n",
            &[],
            &[
                "my.yaml:4",
                "`stages.qat.from` is `stf`",
                "an earlier stage: sft",
            ],
        ),
        (
            "stages:\n  qat: {}\n  sft: {from: qat}\n",
            &[],
            &["is SFT and goes on from `qat`"],
        ),
        (
            "stages:\n  sft: {}\n  sft_ptq: {method: sft}\n",
            &[],
            &["`sft_ptq`", "rename it"],
        ),
        (
            "stages:\n  sft: {title: A}\n  qat: {title: A}\n",
            &[],
            &["makes a row `A`", "there already"],
        ),
        ("stages:\n  a/b: {method: sft}\n", &[], &["letters, digits"]),
        ("model: x\n", &[], &["names no stage"]),
        (
            "stages:\n  sft: {}\n  qat: {from: sft, teacher: sft}\n",
            &[],
            &["`stages.qat.teacher` is given", "method: qad"],
        ),
        (
            "stages:\n  qad: {teacher: sft}\n",
            &[],
            &[
                "my.yaml:2",
                "`stages.qad.teacher` is `sft`",
                "an earlier stage",
            ],
        ),
        (
            "stages:\n  qad:\n    distill:\n      temperature: 0\n",
            &[],
            &[
                "my.yaml:4",
                "`stages.qad.distill.temperature` is 0",
                "a positive number",
            ],
        ),
        (
            "stages:\n  sft: {title: Original}\n",
            &[],
            &["makes a row `Original`"],
        ),
        (
            "stages:\n  sft: {title: A, ptq: true}\n  qat: {title: A + PTQ}\n",
            &[],
            &["my.yaml:3", "makes a row `A + PTQ`"],
        ),
        (
            SMALL,
            &["stages.ruonded=null"],
            &["`ruonded` names no stage", "did you mean `rounded`?"],
        ),
        // No recipe at all.
        ("stages: [\n", &[], &["my.yaml:"]),
        ("just text\n", &[], &["a recipe is a map"]),
        ("seed: 1\nseed: 2\nstages: {sft: {}}\n", &[], &["my.yaml:2"]),
        // Overrides name themselves.
        (
            SMALL,
            &["train.lerning_rate=1"],
            &["`train.lerning_rate=1`: ", "did you mean `learning_rate`?"],
        ),
        (
            SMALL,
            &["stages.rounded.learning_rate=high"],
            &["`stages.rounded.learning_rate=high`: ", "a number"],
        ),
        (SMALL, &["seed"], &["KEY=VALUE"]),
        (SMALL, &["=3"], &["before the `=`"]),
        (SMALL, &["stages.sft.steps=["], &["`stages.sft.steps=[`"]),
        (
            SMALL,
            &["stages.qat.steps=3"],
            &["`qat` names no stage of the recipe", "sft, rounded"],
        ),
    ];
    for (text, overrides, parts) in cases {
        let parsed = RecipeSource::parse(text, Path::new(NAME));
        let resolved = parsed.and_then(|mut source| {
            overrides.iter().try_for_each(|text| source.set(text))?;
            source.resolve()
        });
        let message = match resolved {
            Ok(recipe) => panic!("{text}{overrides:?} was taken: {recipe:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(message.lines().count(), 1, "{message}");
        for part in *parts {
            assert!(
                message.contains(part),
                "{text}{overrides:?}: {message}, expected {part}"
            );
        }
    }
}
