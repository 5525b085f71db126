//! Recipe files: what they say, what is filled in, and what a mistake is answered with.

mod mistakes;

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
