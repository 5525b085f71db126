//! The recipe that a command line asks for.

use std::path::Path;

use anyhow::Result;
use burn_qat_train::{Recipe, RecipeSource};
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

/// Steps of a short run: of a stage that starts from the model, and of one that goes on from another.
const SMOKE_STEPS: (usize, usize) = (4, 2);
const SMOKE_PROMPTS: usize = 8;

/// The recipe, all values decided.
pub fn recipe(args: &Args) -> Result<Recipe> {
    let mut recipe = source(args)?.resolve()?;
    // Paths need not be text, which keys of recipes are.
    let paths = [
        (&mut recipe.model, &args.model),
        (&mut recipe.data, &args.data),
        (&mut recipe.output, &args.out),
    ];
    for (path, given) in paths {
        if given.is_some() {
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
    if args.smoke {
        stage_option(&mut source, "steps", "--smoke", |goes_on| {
            Some(json!(if goes_on {
                SMOKE_STEPS.1
            } else {
                SMOKE_STEPS.0
            }))
        });
    }
    let of_run = [
        ("seed", "--seed", args.seed.map(|n| json!(n))),
        (
            "quantize",
            "--quantize",
            args.quantize.as_ref().map(|name| json!(name)),
        ),
        (
            "lora",
            "--lora",
            (args.lora && args.recipe.is_some()).then(|| json!({})),
        ),
        ("lora.rank", "--rank", args.rank.map(|n| json!(n))),
        ("lora.alpha", "--alpha", args.alpha.map(number)),
        (
            "lora.use_rslora",
            "--rslora",
            args.rslora.then(|| json!(true)),
        ),
        (
            "lora.targets",
            "--lora-targets",
            args.lora_targets.as_ref().map(|globs| json!(globs)),
        ),
        (
            "lora.layers",
            "--lora-layers",
            args.lora_layers.as_ref().map(|layers| json!(layers)),
        ),
        (
            "dataset.max_length",
            "--max-length",
            args.max_length.map(|n| json!(n)),
        ),
        (
            "dataset.eval_fraction",
            "--eval-fraction",
            args.eval_fraction.map(number),
        ),
        (
            "dataset.skip_bad_rows",
            "--skip-bad-rows",
            args.skip_bad_rows.then(|| json!(true)),
        ),
        (
            "dataset.loss_mask",
            "--loss-mask",
            args.loss_mask.as_ref().map(|name| json!(name)),
        ),
        (
            "dataset.system",
            "--system",
            args.system.as_ref().map(|name| json!(name)),
        ),
        (
            "dataset.date",
            "--date",
            args.date.as_ref().map(|date| json!(date)),
        ),
        (
            "evaluation.prompts",
            "--prompts",
            args.prompts.map(|n| json!(n)),
        ),
        (
            "evaluation.max_new_tokens",
            "--max-new-tokens",
            args.max_new_tokens.map(|n| json!(n)),
        ),
    ];
    for (key, option, value) in of_run {
        if let Some(value) = value {
            source.set_value(key, value, option);
        }
    }
    let of_stages = [
        (
            "batch_size",
            "--batch-size",
            args.batch_size.map(|n| json!(n)),
        ),
        (
            "micro_batch_size",
            "--micro-batch-size",
            args.micro_batch_size.map(|n| json!(n)),
        ),
        (
            "parallel_micro_batches",
            "--parallel",
            args.parallel.map(|n| json!(n)),
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
        (
            "eval_steps",
            "--eval-steps",
            args.eval_steps.map(|n| json!(n)),
        ),
        (
            "save_steps",
            "--save-steps",
            args.save_steps.map(|n| json!(n)),
        ),
        (
            "gradient_checkpointing",
            "--gradient-checkpointing",
            args.gradient_checkpointing.then(|| json!(true)),
        ),
        (
            "recompute_layers",
            "--recompute-layers",
            args.recompute_layers.then(|| json!(true)),
        ),
    ];
    for (key, option, value) in of_stages {
        stage_option(&mut source, key, option, |_| value.clone());
    }
    let [sft_steps, qat_steps] = [args.sft_steps, args.qat_steps].map(|n| n.map(|n| json!(n)));
    let [sft_lr, qat_lr] = [args.sft_lr, args.qat_lr].map(|rate| rate.map(number));
    for (key, option, [first, later]) in [
        (
            "steps",
            ["--sft-steps", "--qat-steps"],
            [sft_steps, qat_steps],
        ),
        ("learning_rate", ["--sft-lr", "--qat-lr"], [sft_lr, qat_lr]),
    ] {
        stage_option(&mut source, key, option[0], |goes_on| {
            first.clone().filter(|_| !goes_on)
        });
        stage_option(&mut source, key, option[1], |goes_on| {
            later.clone().filter(|_| goes_on)
        });
    }
    for text in &args.overrides {
        source.set(text)?;
    }
    Ok(source)
}

/// Sets a key of every stage, or of some: the value depends on whether a stage goes on from another one.
fn stage_option(
    source: &mut RecipeSource,
    key: &str,
    option: &str,
    value: impl Fn(bool) -> Option<Value>,
) {
    for (name, goes_on) in source.stages() {
        if let Some(value) = value(goes_on) {
            source.set_value(&format!("stages.{name}.{key}"), value, option);
        }
    }
}

/// JSON has no NaN and no infinity; their text is refused with the words of the key.
fn number(x: f64) -> Value {
    match x.is_finite() {
        true => json!(x),
        false => json!(x.to_string()),
    }
}
