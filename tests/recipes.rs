//! Recipe files: what they say, what is filled in, and what a mistake is answered with.

use std::path::Path;

use burn_qat_train::{Method, PolicyChoice, Recipe, RecipeSource, SystemBlock};

const NAME: &str = "my.yaml";

fn source(text: &str) -> RecipeSource {
    RecipeSource::parse(text, Path::new(NAME)).expect("a recipe")
}

fn recipe(text: &str) -> Recipe {
    source(text).resolve().expect("a recipe")
}

const SMALL: &str = "\
seed: 7
train:
  batch_size: 8
  eval_steps: 5
stages:
  sft:
    steps: 10
    eval_steps: 2
  rounded:
    method: qat
    from: sft
    learning_rate: 1e-5
";

#[test]
fn stages_have_what_all_share_and_what_they_say_themselves() {
    let recipe = recipe(SMALL);
    let (sft, qat) = (&recipe.stages[0].1, &recipe.stages[1].1);
    assert_eq!((sft.method, qat.method), (Method::Sft, Method::Qat));
    assert_eq!([sft.batch_size, qat.batch_size], [8, 8]);
    assert_eq!([sft.eval_steps, qat.eval_steps], [2, 5]);
    assert_eq!([sft.learning_rate, qat.learning_rate], [2e-5, 1e-5]);
    let of = |name: &str| {
        let stage = recipe.stage(name).expect("a stage");
        stage.train_config(100, recipe.seed, recipe.depth(name))
    };
    assert_eq!([of("sft").seed, of("rounded").seed], [7, 8]);
    // One pass over 100 examples.
    assert_eq!([of("sft").steps, of("rounded").steps], [10, 13]);
    assert_eq!(of("rounded").checkpoint_steps.map(usize::from), Some(5));
    assert_eq!(recipe.dataset.system, SystemBlock::Published);
    assert!(recipe.lora.is_none());
}

#[test]
fn a_resolved_recipe_is_a_recipe() {
    let first = recipe(SMALL);
    let json = serde_json::to_string(&first).expect("JSON");
    assert_eq!(recipe(&json), first);
}

#[test]
fn toml_says_the_same() {
    let text = "\
seed = 7
[train]
batch_size = 8
eval_steps = 5
[stages.sft]
steps = 10
eval_steps = 2
[stages.rounded]
method = \"qat\"
from = \"sft\"
learning_rate = 1e-5
";
    let toml = RecipeSource::parse(text, Path::new("my.toml")).expect("a recipe");
    assert_eq!(toml.resolve().expect("a recipe"), recipe(SMALL));
    let error = |text: &str| {
        let source = RecipeSource::parse(text, Path::new("my.toml"));
        let resolved = source.and_then(|source| source.resolve());
        resolved.expect_err("a mistake").to_string()
    };
    let unknown = error("[stages.sft]\nsteps = 1\nlerning_rate = 1");
    assert!(unknown.starts_with("my.toml:3: "), "{unknown}");
    let syntax = error("seed = 1\nstages = [");
    assert!(syntax.starts_with("my.toml:2: "), "{syntax}");
}

#[test]
fn overrides_win() {
    let mut source = source(SMALL);
    for text in [
        "stages.rounded.learning_rate=3e-6",
        "train.batch_size=2",
        "model=123",
        "lora.rank=4",
        "lora.layers=[0, 2]",
        "quantize=MXFP4_MLP_WEIGHT_ONLY_CFG",
        "dataset.system=none",
    ] {
        source.set(text).expect(text);
    }
    let recipe = source.resolve().expect("a recipe");
    assert_eq!(recipe.stages[1].1.learning_rate, 3e-6);
    assert_eq!(recipe.stages[0].1.batch_size, 2);
    assert_eq!(recipe.model.as_deref(), Some(Path::new("123")));
    let lora = recipe.lora.expect("adapters");
    assert_eq!((lora.rank, lora.alpha, lora.seed), (4, 16.0, 7));
    assert_eq!(lora.layers, Some(vec![0, 2]));
    let preset = PolicyChoice::Preset("MXFP4_MLP_WEIGHT_ONLY_CFG".into());
    assert_eq!(recipe.stages[1].1.quantize, preset);
    assert_eq!(recipe.dataset.system, SystemBlock::None);
}

#[test]
fn stages_can_be_left_out() {
    let mut source = source(SMALL);
    source.set("stages.rounded=null").expect("an override");
    assert_eq!(source.resolve().expect("a recipe").stages.len(), 1);
    source.set("stages.sft=null").expect("an override");
    let error = source.resolve().expect_err("no stage").to_string();
    assert!(error.contains("names no stage"), "{error}");
}

/// What is asked for last wins, whoever said it before.
#[test]
fn an_override_of_all_stages_concerns_all_stages() {
    let mut source =
        source("stages:\n  sft: {batch_size: 4, quantize: x}\n  qat: {batch_size: 2}\n");
    for text in [
        "train.batch_size=8",
        "train.distill.temperature=2",
        "quantize=mxfp4_mlp_weight_only",
    ] {
        source.set(text).expect(text);
    }
    for (name, stage) in source.resolve().expect("a recipe").stages {
        assert_eq!(stage.batch_size, 8, "{name}");
        assert_eq!(stage.distill.temperature, 2.0, "{name}");
        let preset = PolicyChoice::Preset("mxfp4_mlp_weight_only".into());
        assert_eq!(stage.quantize, preset, "{name}");
    }
}

/// As when everything below a key is a comment.
#[test]
fn keys_with_nothing_behind_them_say_nothing() {
    let text =
        "dataset:\nevaluation:\ntrain:\nquantize:\nlora:\nstages:\n  sft:\n  qat: {from: sft}\n";
    let expected = "stages:\n  sft: {}\n  qat: {from: sft}\n";
    assert_eq!(recipe(text), recipe(expected));
}

#[test]
fn rules_choose_weights_and_schemes() {
    let text = format!(
        "{SMALL}quantize:\n  - {{pattern: '*experts*', scheme: {}}}\n  - {{pattern: '*_bias', scheme: null}}\n",
        serde_json::to_string(&burn_fp4::Fp4Scheme::mxfp4()).expect("JSON")
    );
    let recipe = recipe(&text);
    let policy = recipe.stages[1].1.quantize.policy().expect("a policy");
    assert_eq!(policy.rules.len(), 2);
    assert_eq!(policy.rules[0].scheme, Some(burn_fp4::Fp4Scheme::mxfp4()));
}

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
        // A wrong unit or range.
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
            "train: {global_refresh_steps: 0}\nstages: {sft: {}}\n",
            &[],
            &["a whole number, 1 or more"],
        ),
        (
            "lora:\n  dropout: 0.1\ntrain: {recompute_layers: true}\nstages: {sft: {}}\n",
            &[],
            &["my.yaml:2", "`lora.dropout`", "recompute_layers"],
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

#[test]
fn the_recipes_that_come_along_are_recipes() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&dir).expect("recipes") {
        let path = entry.expect("an entry").path();
        let resolved = RecipeSource::read(&path).and_then(|source| source.resolve());
        let recipe = resolved.unwrap_or_else(|error| panic!("{error}"));
        assert!(recipe.model.is_none() && recipe.data.is_none());
        names.push(
            path.file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned(),
        );
        let text = std::fs::read_to_string(&path).expect("text");
        let head: Vec<&str> = text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .collect();
        assert!(
            head.iter().any(|line| line.contains("cargo run ")),
            "{path:?}: no command"
        );
    }
    assert!(names.len() >= 7, "{names:?}");
    let missing = RecipeSource::read(&dir.join("none.yaml")).expect_err("no file");
    assert!(missing.to_string().contains("none.yaml"), "{missing}");
}
