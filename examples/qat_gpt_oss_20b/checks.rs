//! What can be known before anything is computed or created.

use anyhow::{Context, Result, bail, ensure};
use burn_gpt_oss::{CheckpointForm, GptOssConfig, Tokenizer};
use burn_qat_train::{ChatRecord, DataNotes, MemoryEstimate, Method, available_memory};

use crate::input::{Data, tell};
use crate::settings::{Settings, StagePlan};

/// Refuses a tokenizer of another model, adapters that leave experts in floats, and schemes that no checkpoint holds.
pub fn usable(
    config: &GptOssConfig,
    settings: &Settings,
    data: &Data,
    source: CheckpointForm,
) -> Result<()> {
    let largest = data.largest_token;
    ensure!(
        (largest as usize) < config.vocab_size,
        "tokenizer.json gives token {largest}, but `vocab_size` in config.json is {}; the files belong \
         to different models",
        config.vocab_size
    );
    if let Some(lora) = &settings.recipe.lora {
        // Experts without adapters are written as they are stored.
        let mut stages = settings.stages.iter();
        let rounds = |stage: &&StagePlan| stage.is_qat() || !stage.ptq.is_empty();
        let other = stages.find(|stage| rounds(stage) && stage.packed_form() != source);
        let form = other.map(StagePlan::packed_form);
        ensure!(
            form.is_none() || lora.adapts_all_experts(config)?,
            "the experts of this checkpoint are in {source}, and some of them get no adapter whose sum could be rounded \
             to {}: take a checkpoint in that form, or adapters on all experts of all layers",
            form.unwrap_or(source)
        );
    }
    settings.stages.iter().try_for_each(exportable)
}

/// What a stage rounds to has to fit into the checkpoint that it writes.
fn exportable(stage: &StagePlan) -> Result<()> {
    let schemes = stage.policy.rules.iter().filter_map(|rule| rule.scheme);
    let other = schemes
        .filter(|scheme| CheckpointForm::of_scheme(*scheme).is_none())
        .find(|_| stage.is_qat() || !stage.ptq.is_empty());
    match other {
        Some(scheme) => bail!(
            "`stages.{}.quantize` is {}, which rounds to {scheme}: checkpoints hold MXFP4, and NVFP4 in blocks of 16 \
             with one global scale for each matrix, as nvfp4_mlp_weight_only has it",
            stage.name,
            stage.policy.name
        ),
        None => Ok(()),
    }
}

/// The memory that the stage with the largest need takes.
pub fn estimate(
    config: &GptOssConfig,
    settings: &Settings,
    data: &Data,
    packed: bool,
) -> Result<MemoryEstimate> {
    let stages = settings.stages.iter();
    let estimates = stages.map(|stage| stage_estimate(config, settings, stage, (data, packed)));
    let estimates: Vec<MemoryEstimate> = estimates.collect::<Result<_>>()?;
    let largest = estimates.into_iter().max_by_key(MemoryEstimate::total);
    largest.context("a recipe has a stage")
}

fn stage_estimate(
    config: &GptOssConfig,
    settings: &Settings,
    stage: &StagePlan,
    (data, packed): (&Data, bool),
) -> Result<MemoryEstimate> {
    let longest = data.longest();
    if let Some(lora) = &settings.recipe.lora {
        let train = &stage.config;
        return Ok(MemoryEstimate::adapters(
            config, lora, train, longest, packed,
        )?);
    }
    let mut estimate = MemoryEstimate::full_parameter(config, &stage.config, longest);
    if !stage.is_qat() {
        estimate.first_codes = 0;
    }
    if !settings.keeps_weights() {
        estimate.control = 0;
    }
    let scales = 4 * stage.n_learned_scales(config);
    estimate.weights += scales;
    estimate.gradients += scales;
    estimate.optimizer += 2 * scales;
    estimate.update += scales;
    if estimate.saving > 0 {
        estimate.saving += 2 * scales;
    }
    // A checkpoint in BF16, whose experts are decoded; packed ones stay in the file.
    if stage.method == Method::Qad && (stage.teacher.is_some() || !packed) {
        estimate.teacher = 4 * config.num_expert_weights();
    }
    Ok(estimate)
}

/// Refuses a run that the machine's memory cannot hold.
pub fn fits(estimate: &MemoryEstimate) -> Result<()> {
    Ok(available_memory().map_or(Ok(()), |available| estimate.check(available))?)
}

/// Whether all parameters can be trained in the memory that is free now.
pub fn full_training_fits(config: &GptOssConfig, settings: &Settings, data: &Data) -> Result<bool> {
    let estimate = estimate(config, settings, data, true)?;
    Ok(available_memory().is_none_or(|available| estimate.total() <= available))
}

/// Bytes of everything that a run writes: the checkpoints of all stages, in BF16 after SFT of all parameters, in FP4
/// after QAT and PTQ; of full training the best weights of a stage in float32 beside those that replace them, and states with three times
/// as much where they are saved. Factors and their states are small.
pub fn bytes_on_disk(config: &GptOssConfig, settings: &Settings) -> u64 {
    let lora = settings.recipe.lora.is_some();
    let of_stage = |stage: &StagePlan| {
        let product = match (stage.is_qat(), lora) {
            (true, _) => stage.packed_form().bytes(config),
            (false, false) => CheckpointForm::Bf16.bytes(config),
            (false, true) => 0,
        };
        let packed = stage.packed_form().bytes(config);
        let forms = settings
            .recipe
            .export
            .iter()
            .map(|form| match form.scheme() {
                Some(_) => packed,
                None => CheckpointForm::Bf16.bytes(config),
            });
        let forms: u64 = forms.filter(|_| stage.is_qat()).sum();
        product + forms + stage.ptq.iter().count() as u64 * packed
    };
    let checkpoints: u64 = settings.stages.iter().map(of_stage).sum();
    if lora {
        return checkpoints;
    }
    let weights = config.num_expert_weights() + config.num_dense_weights();
    let saves = |stage: &StagePlan| stage.config.checkpoint_steps.is_some();
    let states = match settings.stages.iter().any(saves) {
        true => 2 * 12 * weights,
        false => 0,
    };
    let kept = settings.stages.iter().enumerate();
    let kept = kept.filter(|(index, stage)| settings.keeps_record(stage, *index));
    checkpoints + (8 + 4 * kept.count() as u64) * weights + states
}

/// The prompts that are answered: the first ones that leave room for an answer.
pub fn prompts(
    config: &GptOssConfig,
    settings: &Settings,
    data: &Data,
    tokenizer: &Tokenizer,
) -> Result<Vec<ChatRecord>> {
    let (context, answer) = (config.max_position_embeddings, settings.eval.max_new_tokens);
    ensure!(
        answer < context,
        "--max-new-tokens {answer} leaves no room for a prompt in the context of {context} tokens"
    );
    let (mut prompts, mut notes) = (Vec::new(), DataNotes::default());
    // A plain text asks nothing.
    let asks = |record: &&ChatRecord| record.text.is_none();
    for record in data.valid_records.iter().filter(asks) {
        if prompts.len() == settings.recipe.evaluation.prompts {
            break;
        }
        let prompt = settings.format.prompt(record, tokenizer)?;
        match prompt.len() + answer <= context {
            true => prompts.push(record.clone()),
            false => {
                let text = format!(
                    "held-out prompts that leave no room for {answer} new tokens in the context of \
                     {context}, not answered"
                );
                notes.add(text, record.line);
            }
        }
    }
    tell(&notes);
    if !data.valid_records.iter().any(|record| asks(&record)) {
        return Ok(prompts);
    }
    if prompts.is_empty() && settings.recipe.evaluation.prompts > 0 {
        bail!(
            "no held-out prompt leaves room for --max-new-tokens {answer} in the context of {context} \
             tokens; give fewer, or --prompts 0"
        );
    }
    Ok(prompts)
}
