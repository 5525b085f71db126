//! A run: what it needs, and what it has reached.

use std::path::{Path, PathBuf};

use anyhow::Result;
use burn::tensor::Device;
use burn_gpt_oss::{CheckpointForm, CheckpointReader};
use burn_qat_train::{
    EvalData, QuantizedWeight, ResultRow, ResultTable, check_disk, evaluate_checkpoint,
};

use crate::args::Args;
use crate::console::{Bar, Cancel};
use crate::device::DeviceName;
use crate::output::Output;
use crate::settings::{Settings, format_of};
use crate::terminal::say;
use crate::{checks, conclusion, input, output, recipe, resume};

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
}

/// Names of the rows.
pub const ORIGINAL: &str = "Original";
pub const SFT: &str = "SFT";
pub const PTQ: &str = "SFT + PTQ";
pub const QAT: &str = "SFT + QAT";
pub const LORA_SFT: &str = "LoRA-SFT";
pub const LORA_PTQ: &str = "LoRA-SFT + PTQ";
pub const LORA_QAT: &str = "LoRA-QAT";
pub const LONGER: &str = "SFT longer (control)";
pub const LONGER_PTQ: &str = "SFT longer + PTQ (control)";

/// The rows that a run compares.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    pub sft: &'static str,
    pub ptq: &'static str,
    pub qat: &'static str,
}

impl Names {
    /// Those of full training, or of training with adapters.
    pub fn new(lora: bool) -> Self {
        let [sft, ptq, qat] = match lora {
            true => [LORA_SFT, LORA_PTQ, LORA_QAT],
            false => [SFT, PTQ, QAT],
        };
        Self { sft, ptq, qat }
    }
}

impl Run {
    /// Opens model and data and checks that the run fits into memory and on the disk. Nothing large is
    /// loaded yet, and nothing is created before all checks have passed.
    pub fn prepare(args: &Args, cancel: Cancel) -> Result<Self> {
        let device = args.device.open();
        output::check(args)?;
        let given = args
            .model
            .as_ref()
            .map(CheckpointReader::open)
            .transpose()?;
        let config = input::config(given.as_ref())?;
        let tokenizer = input::tokenizer(args)?;
        let format = format_of(args, &config);
        let data = input::data(args, &format, &tokenizer)?;
        let settings = Settings::resolve(args, format.clone(), data.train.len())?;
        // Of the memory of other devices nothing is known.
        let settings = match settings.lora.is_none()
            && args.model.is_some()
            && args.device == DeviceName::Flex
            && !checks::full_training_fits(&config, &settings.sft, &data)
        {
            true => {
                say(
                    "All parameters of this model cannot be trained in the memory that is free: low-rank adapters \
                     are trained instead, as with --lora.\n",
                );
                let args = Args {
                    lora: true,
                    ..args.clone()
                };
                Settings::resolve(&args, format, data.train.len())?
            }
            false => settings,
        };
        let packed = given
            .as_ref()
            .is_none_or(|reader| reader.form() == CheckpointForm::Mxfp4);
        checks::fit(&config, &settings, &data, packed)?;
        let prompts = checks::prompts(&config, &settings, &data, &tokenizer)?;
        let output = match args.resume {
            true => Output::reopen(args)?,
            false => {
                let out = args.out.as_deref().unwrap_or(Path::new("runs"));
                check_disk(out, checks::bytes_on_disk(&config, settings.lora.is_some()))?;
                Output::create(args)?
            }
        };
        let out = output.path();
        let original = input::original(args, out)?;
        let table = match args.resume {
            true => {
                resume::check(out, args, &settings, &original)?;
                resume::table(out)?
            }
            false => ResultTable::default(),
        };
        let source = given.map_or_else(|| CheckpointReader::open(&original), Ok)?;
        data.write_generated(out)?;
        if !args.resume {
            recipe::write(out, args, &settings, &original)?;
        }
        let eval_data = EvalData {
            examples: data.valid.clone(),
            prompts,
            format: settings.format.clone(),
        };
        Ok(Self {
            settings,
            output,
            original,
            source,
            device,
            data,
            eval_data,
            cancel,
            resumes: args.resume,
            table,
        })
    }

    /// The names of the rows.
    pub fn names(&self) -> Names {
        Names::new(self.settings.lora.is_some())
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
        match &self.settings.lora {
            Some(lora) => say(format_args!(
                "method  low-rank adapters, rank {} on {}",
                lora.rank,
                lora.targets.join(", ")
            )),
            None => say("method  all parameters"),
        }
        say(format_args!("output  {}\n", self.out().display()));
    }

    /// Evaluates a directory and adds its row, unless it is there or the run is to stop meanwhile.
    pub fn evaluate(&mut self, name: &str, steps: usize, dir: &Path) -> Result<()> {
        if self.table.row(name).is_some() {
            return Ok(());
        }
        let bar = Bar::new(&format!("evaluating {name}"));
        let (examples, prompts) = (self.eval_data.examples.len(), self.eval_data.prompts.len());
        let report = evaluate_checkpoint(
            dir,
            &self.eval_data,
            self.settings.eval,
            &self.device,
            |p| {
                bar.evaluation(p, examples, prompts);
                self.cancel.flow()
            },
        )?;
        let seconds = bar.finish();
        let Some(report) = report else { return Ok(()) };
        say(format_args!(
            "{name}: validation loss {:.4}, pass rate {} ({seconds:.0} s)",
            report.loss.loss, report.pass_rate
        ));
        self.table.rows.push(ResultRow {
            name: name.into(),
            steps,
            dir: dir.to_path_buf(),
            report,
        });
        output::write_table(self.out(), &self.table)
    }

    /// Prints the table and what it says.
    pub fn conclude(&self) {
        let vocab_size = self.source.config().vocab_size;
        conclusion::print(&self.table, self.names(), self.out(), vocab_size);
    }
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
