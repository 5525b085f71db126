//! The recipe that a command line asks for.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use burn_qat_train::{Recipe, RecipeSource};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::Args;

/// The recipes that are chosen without `--recipe`.
const EMBEDDED: (&str, &str) = (
    "recipes/embedded.yaml",
    include_str!("../../recipes/embedded.yaml"),
);
const EMBEDDED_LORA: (&str, &str) = (
    "recipes/embedded_lora.yaml",
    include_str!("../../recipes/embedded_lora.yaml"),
);
const QAT_FULL: (&str, &str) = (
    "recipes/qat_full.yaml",
    include_str!("../../recipes/qat_full.yaml"),
);
const LORA_QAT: (&str, &str) = (
    "recipes/lora_qat.yaml",
    include_str!("../../recipes/lora_qat.yaml"),
);

/// Steps of a short run: of SFT that starts from the model, and of every other stage.
const SMOKE_STEPS: (usize, usize) = (4, 2);
const SMOKE_PROMPTS: usize = 8;

/// The recipe, all values decided.
pub fn recipe(args: &Args) -> Result<Recipe> {
    let mut recipe = source(args)?.resolve()?;
    // Paths need not be text, which keys of recipes are.
    let paths: [(&str, &mut Option<PathBuf>, &Option<PathBuf>); 3] = [
        ("model=", &mut recipe.model, &args.model),
        ("data=", &mut recipe.data, &args.data),
        ("output=", &mut recipe.output, &args.out),
    ];
    for (key, path, given) in paths {
        let overridden = args.overrides.iter().any(|text| text.starts_with(key));
        if given.is_some() && !overridden {
            path.clone_from(given);
        }
    }
    if args.smoke {
        recipe.evaluation.prompts = recipe.evaluation.prompts.min(SMOKE_PROMPTS);
    }
    Ok(recipe)
}

/// The file that was given, or the recipe for this model and method, with all options laid over it.
fn source(args: &Args) -> Result<RecipeSource> {
    let mut source = match &args.recipe {
        Some(path) => RecipeSource::read(path)?,
        None => {
            let (path, text) = match (args.gives_model(), args.asks_for_lora()) {
                (false, false) => EMBEDDED,
                (false, true) => EMBEDDED_LORA,
                (true, false) => QAT_FULL,
                (true, true) => LORA_QAT,
            };
            RecipeSource::parse(text, Path::new(path))?
        }
    };
    if args.lora && !source.says("lora") {
        source.set_value("lora", json!({}), "--lora");
    }
    if args.smoke {
        let steps = |first| Some(json!(if first { SMOKE_STEPS.0 } else { SMOKE_STEPS.1 }));
        of_stages(&mut source, ("steps", "--smoke"), steps)?;
    }
    for (key, option, value) in of_run(args) {
        if let Some(value) = value {
            source.set_value(key, value, option);
        }
    }
    for (key, option, value) in of_every_stage(args) {
        of_stages(&mut source, (key, option), |_| value.clone())?;
    }
    for (key, option, is_first, value) in of_some_stages(args) {
        of_stages(&mut source, (key, option), |first| {
            value.clone().filter(|_| first == is_first)
        })?;
    }
    for text in &args.overrides {
        source.set(text)?;
    }
    Ok(source)
}

type Setting = (&'static str, &'static str, Option<Value>);

/// Options that concern the run.
fn of_run(args: &Args) -> [Setting; 15] {
    [
        ("seed", "--seed", given(&args.seed)),
        ("quantize", "--quantize", given(&args.quantize)),
        ("lora.rank", "--rank", given(&args.rank)),
        ("lora.alpha", "--alpha", args.alpha.map(number)),
        ("lora.use_rslora", "--rslora", flag(args.rslora)),
        ("lora.targets", "--lora-targets", given(&args.lora_targets)),
        ("lora.layers", "--lora-layers", given(&args.lora_layers)),
        (
            "dataset.max_length",
            "--max-length",
            given(&args.max_length),
        ),
        (
            "dataset.eval_fraction",
            "--eval-fraction",
            args.eval_fraction.map(number),
        ),
        (
            "dataset.skip_bad_rows",
            "--skip-bad-rows",
            flag(args.skip_bad_rows),
        ),
        ("dataset.loss_mask", "--loss-mask", given(&args.loss_mask)),
        ("dataset.system", "--system", given(&args.system)),
        ("dataset.date", "--date", given(&args.date)),
        ("evaluation.prompts", "--prompts", given(&args.prompts)),
        (
            "evaluation.max_new_tokens",
            "--max-new-tokens",
            given(&args.max_new_tokens),
        ),
    ]
}

/// Options that concern every stage.
fn of_every_stage(args: &Args) -> [Setting; 12] {
    [
        ("batch_size", "--batch-size", given(&args.batch_size)),
        (
            "micro_batch_size",
            "--micro-batch-size",
            given(&args.micro_batch_size),
        ),
        (
            "parallel_micro_batches",
            "--parallel",
            given(&args.parallel),
        ),
        (
            "min_lr_ratio",
            "--min-lr-ratio",
            args.min_lr_ratio.map(number),
        ),
        (
            "warmup_ratio",
            "--warmup-ratio",
            args.warmup_ratio.map(number),
        ),
        (
            "weight_decay",
            "--weight-decay",
            args.weight_decay.map(number),
        ),
        (
            "max_grad_norm",
            "--max-grad-norm",
            args.max_grad_norm.map(number),
        ),
        ("eval_steps", "--eval-steps", given(&args.eval_steps)),
        ("save_steps", "--save-steps", given(&args.save_steps)),
        (
            "gradient_checkpointing",
            "--gradient-checkpointing",
            flag(args.gradient_checkpointing),
        ),
        (
            "recompute_layers",
            "--recompute-layers",
            flag(args.recompute_layers),
        ),
        ("layer_wise", "--layer-wise", flag(args.layer_wise)),
    ]
}

/// Options of SFT that starts from the model (true), and of every other stage.
fn of_some_stages(args: &Args) -> [(&'static str, &'static str, bool, Option<Value>); 4] {
    [
        ("steps", "--sft-steps", true, given(&args.sft_steps)),
        ("steps", "--qat-steps", false, given(&args.qat_steps)),
        ("learning_rate", "--sft-lr", true, args.sft_lr.map(number)),
        ("learning_rate", "--qat-lr", false, args.qat_lr.map(number)),
    ]
}

/// Sets a key of every stage, or of some: the value depends on whether a stage is SFT that starts from the model. An
/// option that concerns no stage is a mistake.
fn of_stages(
    source: &mut RecipeSource,
    (key, option): (&str, &str),
    value: impl Fn(bool) -> Option<Value>,
) -> Result<()> {
    let asked = value(true).is_some() || value(false).is_some();
    let mut taken = false;
    for (name, is_first) in source.stages() {
        if let Some(value) = value(is_first) {
            source.set_value(&format!("stages.{name}.{key}"), value, option);
            taken = true;
        }
    }
    if asked && !taken {
        bail!("{option}: the recipe has no stage that it concerns");
    }
    Ok(())
}

fn given(value: &Option<impl Serialize>) -> Option<Value> {
    value.as_ref().map(|value| json!(value))
}

fn flag(is_set: bool) -> Option<Value> {
    is_set.then(|| json!(true))
}

/// JSON has no NaN and no infinity; their text is refused with the words of the key.
fn number(x: f64) -> Value {
    match x.is_finite() {
        true => json!(x),
        false => json!(x.to_string()),
    }
}
