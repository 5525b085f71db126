//! A whole run of LoRA-QAT on a packed base: training that is stopped half way, resumed, merged and exported, with
//! the memory that it takes.
//!
//! `cargo bench --bench lora_run` makes one layer of the shapes of gpt-oss-20b with random weights in a temporary
//! directory, with `LAYERS=N` others; `CHECKPOINT=DIR` takes any checkpoint (`--example synthetic_checkpoint` makes
//! all 24 layers, 13.8 GB). `STEPS=N` steps (10) on one sequence of `TOKENS=N` tokens (512), `RANK=N` (8),
//! `TARGETS=GLOBS` the adapted weights, `LR=X` the learning rate (1e-3), `EXPORT=0` stops after training.

#[path = "support/checkpoint.rs"]
mod checkpoint;
#[path = "support/memory.rs"]
mod memory;
#[path = "support/process.rs"]
mod process;
#[path = "../examples/synthetic_checkpoint/tensors.rs"]
mod tensors;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, FloatDType};
use burn::train::Interrupter;
use burn_gpt_oss::{CheckpointReader, GptOss};
use burn_qat_train::{
    AdapterTable, Console, LoraConfig, MergeReport, QuantPolicy, StageOutcome, StageRun,
    TokenizedExample, TrainConfig, export_fp4, insert_adapters, round_adapters,
};
use checkpoint::checkpoint;
use memory::Memory;

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let (dir, _temporary) = checkpoint(1)?;
    let reader = CheckpointReader::open(&dir)?;
    let (steps, tokens) = (number("STEPS", 10)?, number("TOKENS", 512)?);
    println!(
        "# LoRA-QAT, {steps} steps of {tokens} tokens, {} layers, {:.2} GB on disk, {} threads\n",
        reader.config().num_hidden_layers,
        reader.file_len()? as f64 / 1e9,
        rayon::current_num_threads()
    );
    let run = Run {
        out: tempfile::tempdir()?,
        example: example(reader.config().vocab_size, tokens),
        config: TrainConfig {
            steps,
            batch_size: 1,
            micro_batch_size: 1,
            learning_rate: number("LR", 1e-3)?,
            warmup_ratio: 0.0,
            eval_steps: steps,
            recompute_layers: true,
            checkpoint_steps: NonZeroUsize::new(steps),
            ..TrainConfig::default()
        },
        memory: Memory::watch(),
    };
    let mut outcome = None;
    if steps > 1 {
        run.leg("trained and stopped", &reader, Some(steps / 2))?;
        outcome = Some(run.leg("resumed", &reader, None)?);
    }
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => run.leg("trained", &reader, None)?,
    };
    let losses = outcome.history.train.iter().map(|point| point.loss);
    println!("\nlosses {:.4?}\n", losses.collect::<Vec<_>>());
    println!("{}", MergeReport::new(&outcome.model)?);
    if number("EXPORT", 1)? == 1 {
        run.export(&outcome.model, &reader)?;
    }
    Ok(())
}

fn number<T: std::str::FromStr>(name: &str, default: T) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match std::env::var(name) {
        Ok(value) => value.parse().with_context(|| name.to_owned()),
        Err(_) => Ok(default),
    }
}

fn example(vocabulary: usize, n_tokens: usize) -> TokenizedExample {
    let token = |i: usize| ((i * 7919) % vocabulary) as u32;
    TokenizedExample {
        tokens: (0..=n_tokens).map(token).collect(),
        loss_mask: vec![true; n_tokens + 1],
        starts: Vec::new(),
    }
}

struct Run {
    out: tempfile::TempDir,
    example: TokenizedExample,
    config: TrainConfig,
    memory: Memory,
}

impl Run {
    /// Trains until the end, or until a stop is asked for while so many steps are done.
    fn leg(
        &self,
        name: &str,
        reader: &CheckpointReader,
        stop: Option<usize>,
    ) -> Result<StageOutcome> {
        let model = adapted(reader)?;
        let valid = TokenizedExample {
            tokens: self.example.tokens[..65.min(self.example.tokens.len())].to_vec(),
            loss_mask: vec![true; 65.min(self.example.tokens.len())],
            starts: Vec::new(),
        };
        let data = (vec![self.example.clone()], vec![valid]);
        let (start, first, interrupter) = (Instant::now(), n_steps(self.dir()), Interrupter::new());
        if let Some(stop) = stop {
            let (dir, interrupter) = (self.dir().to_path_buf(), interrupter.clone());
            thread::spawn(move || {
                while n_steps(&dir) < stop {
                    thread::sleep(Duration::from_millis(50));
                }
                interrupter.stop(None);
            });
        }
        let console = Console::Lines(Arc::new(|line| println!("{line}")));
        let run = StageRun::new("LoRA-QAT", self.dir(), &self.config)
            .with_console(console)
            .with_interrupter(interrupter);
        let outcome = match first {
            0 => run.train(model, data)?,
            _ => run.resume(model, data)?,
        };
        let (seconds, steps) = (start.elapsed().as_secs_f64(), n_steps(self.dir()) - first);
        ensure!(
            outcome.interrupted == stop.is_some(),
            "the stop was not heard"
        );
        println!(
            "{name}: {steps} steps and the validation loss in {seconds:.1} s, {:.1} s a step; {}",
            seconds / steps as f64,
            self.memory.now()
        );
        Ok(outcome)
    }

    fn dir(&self) -> &Path {
        self.out.path()
    }

    fn export(&self, model: &GptOss, reader: &CheckpointReader) -> Result<()> {
        let start = Instant::now();
        let report = export_fp4(model, &self.dir().join("export"), reader, false, |_| {})?;
        println!(
            "exported in {:.1} s: {} weights read back, all bits equal to the trained ones; {}",
            start.elapsed().as_secs_f64(),
            report.verified_weights,
            self.memory.now()
        );
        Ok(())
    }
}

/// The base as it lies in the file, with adapters whose sums are rounded.
fn adapted(reader: &CheckpointReader) -> Result<GptOss> {
    let device = Device::default().autodiff();
    let model = reader.load_stored(&device, FloatDType::F32, |_| {})?;
    let defaults = LoraConfig::default();
    let targets = std::env::var("TARGETS").ok();
    let targets = targets.map(|globs| globs.split(',').map(String::from).collect());
    let lora = LoraConfig {
        rank: number("RANK", defaults.rank)?,
        targets: targets.unwrap_or(defaults.targets),
        ..LoraConfig::default()
    };
    let (model, weights) = insert_adapters(model, &lora)?;
    println!("{}\n", AdapterTable::new(&weights));
    Ok(round_adapters(model, &QuantPolicy::mxfp4_mlp_weight_only())?.0)
}

/// Lines of the log that are about training steps.
fn n_steps(dir: &Path) -> usize {
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap_or_default();
    let lines = text.lines().filter(|line| line.contains("\"train\""));
    lines.count()
}
