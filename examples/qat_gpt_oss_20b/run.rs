//! A run: what it needs, and what it has reached.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::Device;
use burn_gpt_oss::{CheckpointForm, CheckpointReader};
use burn_qat_train::{
    EvalData, EvalProgress, EvalReport, MemoryEstimate, QuantizedWeight, Recipe, ResultRow,
    ResultTable, check_disk, evaluate_checkpoint, evaluate_model,
};

use crate::args::Args;
use crate::console::{Bar, Cancel};
use crate::device::DeviceName;
use crate::dry_run::gigabytes;
use crate::output::{Mode, Output};
use crate::settings::{Settings, StagePlan, format_of};
use crate::terminal::say;
use crate::{allocator, checks, conclusion, dry_run, input, options, output, recipe, resume};

/// A run in progress.
pub struct Run {
    pub settings: Settings,
    output: Output,
    pub original: PathBuf,
    pub source: CheckpointReader,
    pub device: Device,
    pub data: input::Data,
    eval_data: EvalData,
    pub cancel: Cancel,
    /// Whether it goes on with an earlier run.
    pub resumes: bool,
    /// The rows so far.
    pub table: ResultTable,
    /// What memory was expected to be needed.
    estimate: MemoryEstimate,
}

/// The factors, as PEFT calls the file.
const ADAPTER_FILE: &str = "adapter_model.safetensors";

/// Name of the row of the model that a run starts from.
pub const ORIGINAL: &str = "Original";

impl Run {
    /// Opens model and data and checks that the run fits into memory and on the disk. Nothing large is
    /// loaded yet, and nothing is created before all checks have passed. None of a dry run, which ends here.
    pub fn prepare(args: &Args, recipe: Recipe, cancel: Cancel) -> Result<Option<Self>> {
        let device = args.device.open();
        let mode = args.mode();
        output::check(&recipe, mode)?;
        let given = recipe
            .model
            .as_ref()
            .map(CheckpointReader::open)
            .transpose()?;
        let config = input::config(given.as_ref())?;
        let tokenizer = input::tokenizer(&recipe)?;
        tokenizer.check(&config)?;
        let format = format_of(&recipe.dataset, &config);
        let data = input::data(&recipe, args.smoke, &format, &tokenizer)?;
        let settings = Settings::new(recipe, format, data.train.len())?;
        let settings = match may_choose_adapters(args, &settings)
            && !checks::full_training_fits(&config, &settings, &data)?
        {
            true => with_adapters(args, settings, data.train.len())?,
            false => settings,
        };
        let recipe = &settings.recipe;
        let form = given
            .as_ref()
            .map_or(CheckpointForm::Mxfp4, CheckpointReader::form);
        let packed = form != CheckpointForm::Bf16;
        checks::usable(&config, &settings, &data, form)?;
        let estimate = checks::estimate(&config, &settings, &data, packed)?;
        let prompts = checks::prompts(&config, &settings, &data, &tokenizer)?;
        if args.dry_run {
            dry_run::print(&config, &settings, &data, &estimate)?;
            return Ok(None);
        }
        checks::fits(&estimate)?;
        let resumes = mode == Mode::Resume;
        let output = match resumes {
            true => Output::reopen(recipe)?,
            false => {
                let out = recipe.output.as_deref().unwrap_or(Path::new("runs"));
                check_disk(out, checks::bytes_on_disk(&config, &settings))?;
                Output::create(recipe, mode)?
            }
        };
        let out = output.path();
        let table = match resumes {
            true => {
                resume::check(out, recipe)?;
                resume::table(out)?
            }
            false => ResultTable::default(),
        };
        let original = input::original(recipe, resumes, out)?;
        let source = given.map_or_else(|| CheckpointReader::open(&original), Ok)?;
        data.write_generated(out)?;
        if !resumes {
            recipe::write(out, recipe)?;
        }
        let eval_data = EvalData {
            examples: data.valid.clone(),
            prompts,
            format: settings.format.clone(),
            task: recipe.evaluation.judge(),
        };
        Ok(Some(Self {
            settings,
            output,
            original,
            source,
            device,
            data,
            eval_data,
            cancel,
            resumes,
            table,
            estimate,
        }))
    }

    /// The output directory.
    pub fn out(&self) -> &Path {
        self.output.path()
    }

    /// Prints what is going to happen.
    pub fn announce(&self) {
        let config = self.source.config();
        say(format_args!(
            "model   {} ({} layers, {} experts, {:.1} M parameters)",
            self.original.display(),
            config.num_hidden_layers,
            config.num_local_experts,
            (config.num_expert_weights() + config.num_dense_weights()) as f64 / 1e6
        ));
        say(format_args!(
            "data    {} conversations to train on, {} held out, {} of them answered",
            self.data.train.len(),
            self.data.valid.len(),
            self.eval_data.prompts.len()
        ));
        match &self.settings.recipe.lora {
            Some(lora) => say(format_args!(
                "method  low-rank adapters, rank {} on {}",
                lora.rank,
                lora.targets.join(", ")
            )),
            None => say("method  all parameters"),
        }
        let stages = self.settings.stages.iter();
        let stages = stages.map(|stage| format!("{} ({} steps)", stage.title, stage.config.steps));
        say(format_args!(
            "stages  {}",
            stages.collect::<Vec<_>>().join(", ")
        ));
        say(format_args!("output  {}\n", self.out().display()));
    }

    /// Evaluates a directory and adds its row, unless it is there or the run is to stop meanwhile.
    pub fn evaluate(&mut self, name: &str, steps: usize, dir: &Path) -> Result<()> {
        let (settings, device) = (self.settings.eval, self.device.clone());
        self.measure((name, steps, dir), |data, observe| {
            Ok(evaluate_checkpoint(dir, data, settings, &device, observe)?)
        })
    }

    /// The same with what a stage with adapters wrote: the base in its file, and the factors.
    pub fn evaluate_adapter(&mut self, plan: &StagePlan, steps: usize) -> Result<()> {
        let dir = self.adapter_dir(plan);
        let model = self
            .with_saved_adapter(plan)?
            .context("factors were saved")?;
        let size = dir
            .join(ADAPTER_FILE)
            .metadata()
            .map_or(0, |file| file.len());
        let (settings, device) = (self.settings.eval, self.device.clone());
        let source = CheckpointReader::open(&self.original)?;
        self.measure((&plan.title, steps, &dir), |data, observe| {
            let report = evaluate_model(&model, &source, data, settings, &device, observe)?;
            Ok(report.map(|report| EvalReport {
                bytes_on_disk: report.bytes_on_disk + size,
                ..report
            }))
        })
    }

    fn measure(
        &mut self,
        (name, steps, dir): (&str, usize, &Path),
        evaluate: impl FnOnce(
            &EvalData,
            &mut (dyn FnMut(EvalProgress) -> ControlFlow<()> + Send),
        ) -> Result<Option<EvalReport>>,
    ) -> Result<()> {
        if self.table.row(name).is_some() {
            return Ok(());
        }
        let bar = Bar::new(&format!("evaluating {name}"));
        let (examples, prompts) = (self.eval_data.examples.len(), self.eval_data.prompts.len());
        let mut observe = |progress| {
            bar.evaluation(progress, examples, prompts);
            self.cancel.flow()
        };
        let report = evaluate(&self.eval_data, &mut observe)?;
        let seconds = bar.finish();
        let Some(report) = report else { return Ok(()) };
        say(format_args!(
            "{name}: validation loss {:.4}, pass rate {} ({seconds:.0} s)",
            report.loss.loss, report.pass_rate
        ));
        output::write_answers(self.out(), name, &report.answers)?;
        self.table.rows.push(ResultRow {
            name: name.into(),
            steps,
            dir: dir.to_path_buf(),
            report,
        });
        // A run that goes on may measure a stage again, whose row was taken out.
        let order = self.settings.rows();
        let place = |row: &ResultRow| order.iter().position(|name| *name == row.name);
        self.table
            .rows
            .sort_by_key(|row| place(row).map_or(0, |place| 1 + place));
        output::write_table(self.out(), &self.table)
    }

    /// Prints the table and what it says.
    pub fn conclude(&self) {
        let vocab_size = self.source.config().vocab_size;
        conclusion::print(&self.table, &self.settings, self.out(), vocab_size);
    }

    /// Prints what memory was needed, beside what was expected.
    pub fn tell_memory(&self) {
        say(format_args!(
            "memory  {} at most, {} by estimate",
            gigabytes(allocator::peak()),
            gigabytes(self.estimate.total())
        ));
    }
}

/// Whether adapters may take the place of full training: where nothing was said about the method. Of the memory of
/// other devices nothing is known.
fn may_choose_adapters(args: &Args, settings: &Settings) -> bool {
    let recipe = &settings.recipe;
    let silent = args.recipe.is_none() && !args.speaks_of_lora();
    silent && recipe.model.is_some() && args.device == DeviceName::Flex
}

fn with_adapters(args: &Args, settings: Settings, n_examples: usize) -> Result<Settings> {
    say(
        "All parameters of this model cannot be trained in the memory that is free: low-rank adapters are trained \
         instead, as with --lora.\n",
    );
    let args = Args {
        lora: true,
        ..args.clone()
    };
    Settings::new(options::recipe(&args)?, settings.format, n_examples)
}

/// Lists what a policy chose.
pub fn print_quantized(policy: &str, weights: &[QuantizedWeight]) {
    say(format_args!("\nquantized by {policy}:"));
    let total: usize = weights
        .iter()
        .map(|weight| weight.shape.iter().product::<usize>())
        .sum();
    for weight in weights {
        say(format_args!(
            "  {:<40} {:<20} {}",
            weight.path,
            format!("{:?}", weight.shape),
            weight.scheme
        ));
    }
    say(format_args!(
        "  {} matrices, {:.1} M weights\n",
        weights.len(),
        total as f64 / 1e6
    ));
}
