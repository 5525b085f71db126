use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Device;
use burn_gpt_oss::{
    CheckpointForm, CheckpointReader, Completion, ElementTypes, GenerateOptions, Generated, GptOss,
    GptOssConfig, Role, Step, Tokenizer, generate, parse_completion_until, stop_tokens,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::loss::{LossReport, evaluate_loss};
use super::{PassRate, Task};
use crate::data::{ChatFormat, ChatRecord, TokenizedExample};
use crate::error::QatError;

/// What a checkpoint is evaluated on.
#[derive(Clone, Debug)]
pub struct EvalData {
    /// Validation data for the loss.
    pub examples: Vec<TokenizedExample>,
    /// Held-out conversations whose last answer is generated and judged.
    pub prompts: Vec<ChatRecord>,
    /// How conversations become tokens.
    pub format: ChatFormat,
    /// What a right answer is.
    pub task: Arc<dyn Task>,
}

/// Limits of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvalOptions {
    /// Sequences computed together.
    pub batch_size: usize,
    /// Batches computed side by side: worth it on a CPU, whose cores one small model does not fill.
    pub parallel: usize,
    /// Most tokens to generate per prompt.
    pub max_new_tokens: usize,
    /// Element types of the run: `compute` is what the model is loaded as.
    pub element_types: ElementTypes,
}

/// The figures of one checkpoint directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalReport {
    /// Loss over the validation data.
    pub loss: LossReport,
    /// Share of the prompts that passed.
    pub pass_rate: PassRate,
    /// How the experts are stored.
    pub form: CheckpointForm,
    /// Size of the safetensors files.
    pub bytes_on_disk: u64,
    /// The first answers.
    #[serde(default)]
    pub samples: Vec<Sample>,
    /// All answers, in the order of the prompts; a report that was read from a file has none.
    #[serde(skip)]
    pub answers: Vec<Sample>,
}

/// An answer to a held-out prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The last message of the user.
    pub prompt: String,
    /// What the model thought.
    pub thinking: String,
    /// What it answered.
    pub content: String,
    /// Whether it passed.
    pub passed: bool,
}

/// Answers that are kept.
const SAMPLES: usize = 4;

/// Where an evaluation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvalProgress {
    /// Examples whose loss is known.
    Loss(usize),
    /// Prompts that are answered.
    Prompts(usize),
}

/// Weights that take more than this in float32 are not decoded.
const LARGE: u64 = 4_000_000_000;

/// What the weights of a model take while its checkpoint is loaded and evaluated: nothing where they stay in the file. The
/// head is turned last, and there twice meanwhile.
pub(crate) fn decoded_bytes(config: &GptOssConfig) -> u64 {
    match 4 * (config.num_expert_weights() + config.num_dense_weights()) {
        large if large > LARGE => 0,
        small => small + 4 * (config.vocab_size * config.hidden_size) as u64,
    }
}

/// Loads a checkpoint directory and evaluates it: what is measured is what lies on disk. Of a model that would
/// take more than 4 GB in float32, packed experts and 16-bit matrices stay in the file and are multiplied as they are
/// stored.
///
/// `observe` is called after every batch and token; [`ControlFlow::Break`] ends the evaluation
/// without a result.
///
/// # Errors
/// A checkpoint or tokenizer that cannot be loaded, prompts that cannot be rendered or exceed the
/// model's context.
pub fn evaluate_checkpoint(
    dir: &Path,
    data: &EvalData,
    options: EvalOptions,
    device: &Device,
    mut observe: impl FnMut(EvalProgress) -> ControlFlow<()> + Send,
) -> Result<Option<EvalReport>, QatError> {
    let reader = CheckpointReader::open(dir)?;
    let compute = options.element_types.compute;
    let model = match decoded_bytes(reader.config()) {
        0 => reader.load_stored(device, compute, |_| {})?,
        _ => reader.load(device, compute, |_| {})?,
    };
    evaluate_model(&model, &reader, data, options, device, &mut observe)
}

/// Evaluates a model in memory, such as a packed base with adapters. `source` is the checkpoint whose tokenizer it has,
/// and whose form and size are reported.
///
/// # Errors
/// Those of [`evaluate_checkpoint`].
pub fn evaluate_model(
    model: &GptOss,
    source: &CheckpointReader,
    data: &EvalData,
    options: EvalOptions,
    device: &Device,
    mut observe: impl FnMut(EvalProgress) -> ControlFlow<()> + Send,
) -> Result<Option<EvalReport>, QatError> {
    let tokenizer = Tokenizer::from_file(source.dir().join("tokenizer.json"))?;
    let batch = options.batch_size;
    let loss = evaluate_loss(
        model,
        &data.examples,
        (batch, options.parallel),
        device,
        |done| observe(EvalProgress::Loss(done.min(data.examples.len()))),
    )?;
    let Some(loss) = loss else { return Ok(None) };
    let prompts = |done| observe(EvalProgress::Prompts(done));
    let mut stops = stop_tokens(&tokenizer);
    stops.extend(source.eos_token_ids()?);
    let Some((pass_rate, answers)) =
        pass_rate(model, (&tokenizer, &stops), data, options, device, prompts)?
    else {
        return Ok(None);
    };
    let (form, bytes_on_disk) = (source.form(), source.file_len()?);
    Ok(Some(EvalReport {
        loss,
        pass_rate,
        form,
        bytes_on_disk,
        samples: answers.iter().take(SAMPLES).cloned().collect(),
        answers,
    }))
}

fn pass_rate(
    model: &GptOss,
    (tokenizer, stops): (&Tokenizer, &[u32]),
    data: &EvalData,
    options: EvalOptions,
    device: &Device,
    mut observe: impl FnMut(usize) -> ControlFlow<()> + Send,
) -> Result<Option<(PassRate, Vec<Sample>)>, QatError> {
    let prompts: Vec<Vec<u32>> = data
        .prompts
        .iter()
        .map(|record| data.format.prompt(record, tokenizer))
        .collect::<Result<_, _>>()?;
    let generation = GenerateOptions {
        max_new_tokens: options.max_new_tokens,
        stop_tokens: stops.to_vec(),
        batch_size: options.batch_size,
        ..GenerateOptions::default()
    };
    let (observe, stopped) = (Mutex::new(&mut observe), AtomicBool::new(false));
    let finished = AtomicUsize::new(0);
    // One share of the prompts per thread; the answers do not depend on how they are shared.
    let share = prompts.len().div_ceil(options.parallel.max(1)).max(1);
    let shares: Vec<_> = prompts
        .chunks(share)
        .map(|prompts| (prompts, model.clone()))
        .collect();
    let answer = |(prompts, model): (&[Vec<u32>], GptOss)| {
        generate(&model, prompts, &generation, device, |step| {
            let ended = finished_by(step);
            let total = finished.fetch_add(ended, Ordering::Relaxed) + ended;
            let mut observe = observe.lock().unwrap_or_else(PoisonError::into_inner);
            let flow = (observe)(total);
            stopped.fetch_or(flow.is_break(), Ordering::Relaxed);
            flow
        })
    };
    let answers: Vec<Vec<Generated>> = shares
        .into_par_iter()
        .map(answer)
        .collect::<Result<_, _>>()?;
    if stopped.into_inner() {
        return Ok(None);
    }
    let answers: Vec<Generated> = answers.into_iter().flatten().collect();
    let judged = data.prompts.iter().zip(&answers).map(|(record, answer)| {
        let completion = parse_completion_until(&answer.tokens, tokenizer, stops);
        let passed = data.task.passes(record, &completion)?;
        Ok(sample(record, completion, passed))
    });
    let answers: Vec<Sample> = judged.collect::<Result<_, QatError>>()?;
    let passed = answers.iter().filter(|sample| sample.passed).count();
    Ok(Some((PassRate::new(passed, prompts.len()), answers)))
}

fn sample(record: &ChatRecord, completion: Completion, passed: bool) -> Sample {
    let mut messages = record.messages.iter().rev();
    let asked = messages.find(|message| message.role == Role::User);
    Sample {
        prompt: asked
            .map(|message| message.content.text().into_owned())
            .unwrap_or_default(),
        thinking: completion.thinking.unwrap_or_default(),
        content: completion.content.unwrap_or_default(),
        passed,
    }
}

/// Sequences that end with a step.
fn finished_by(step: &Step) -> usize {
    match step {
        Step::Prefill { .. } => 0,
        Step::Tokens(tokens) => tokens.iter().filter(|new| new.finish.is_some()).count(),
    }
}
