//! What can be known before anything is computed or created.

use anyhow::{Result, bail, ensure};
use burn_gpt_oss::{CheckpointForm, GptOssConfig, Tokenizer};
use burn_qat_train::{ChatRecord, DataNotes, MemoryEstimate, available_memory};

use crate::input::{Data, tell};
use crate::settings::Settings;

/// Refuses a tokenizer of another model, and a model the machine's memory cannot hold.
pub fn fit(config: &GptOssConfig, settings: &Settings, data: &Data) -> Result<()> {
    let examples = || data.train.iter().chain(&data.valid);
    let largest = examples()
        .flat_map(|example| &example.tokens)
        .max()
        .copied()
        .unwrap_or(0);
    ensure!(
        (largest as usize) < config.vocab_size,
        "tokenizer.json gives token {largest}, but `vocab_size` in config.json is {}; the files belong \
         to different models",
        config.vocab_size
    );
    let longest = examples()
        .map(|example| example.tokens.len())
        .max()
        .unwrap_or(0);
    let estimate = MemoryEstimate::full_parameter(config, &settings.sft, longest);
    Ok(available_memory().map_or(Ok(()), |available| estimate.check(available))?)
}

/// Bytes of everything that a run writes: two checkpoints in BF16, three in MXFP4, and the best weights
/// of a stage in float32 beside those that replace them.
pub fn bytes_on_disk(config: &GptOssConfig) -> u64 {
    let weights = config.num_expert_weights() + config.num_dense_weights();
    2 * CheckpointForm::Bf16.bytes(config) + 3 * CheckpointForm::Mxfp4.bytes(config) + 8 * weights
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
    for record in &data.valid_records {
        if prompts.len() == settings.prompts {
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
    if prompts.is_empty() && settings.prompts > 0 {
        bail!(
            "no held-out prompt leaves room for --max-new-tokens {answer} in the context of {context} \
             tokens; give fewer, or --prompts 0"
        );
    }
    Ok(prompts)
}
