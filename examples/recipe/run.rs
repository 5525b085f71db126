//! The recipe, stage by stage.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, FloatDType};
use burn_gpt_oss::{
    CheckpointForm, CheckpointReader, CheckpointWriter, GptOss, GptOssConfig, Tokenizer,
};
use burn_qat_train::{
    EvalData, History, MemoryEstimate, QuantizedWeight, ResultRow, ResultTable, StageOutcome,
    TrainConfig, available_memory, evaluate_checkpoint, export_mxfp4, insert_quantizers, train,
};

use crate::args::Args;
use crate::console::{self, Bar, Cancel};
use crate::settings::{Settings, format_of};
use crate::{input, output};

/// A run in progress.
pub struct Run {
    settings: Settings,
    out: PathBuf,
    original: PathBuf,
    source: CheckpointReader,
    device: Device,
    data: input::Data,
    eval_data: EvalData,
    cancel: Cancel,
    /// The rows so far.
    pub table: ResultTable,
}

/// Names of the rows.
pub const ORIGINAL: &str = "Original";
pub const SFT: &str = "SFT";
pub const PTQ: &str = "SFT + PTQ";
pub const QAT: &str = "SFT + QAT";
pub const LONGER: &str = "SFT longer (control)";
pub const LONGER_PTQ: &str = "SFT longer + PTQ (control)";

impl Run {
    /// Opens model and data and checks that the run fits into memory. Nothing large is loaded yet, and
    /// nothing is created before all checks have passed.
    pub fn prepare(args: &Args, cancel: Cancel) -> Result<Self> {
        let device = args.device.open();
        let out = output::check(args)?;
        let given = args
            .model
            .as_ref()
            .map(CheckpointReader::open)
            .transpose()?;
        let tokenizer = input::tokenizer(args)?;
        let data = input::data(args, &format_of(args), &tokenizer)?;
        let settings = Settings::resolve(args, data.train.len())?;
        if let Some(reader) = &given {
            check_fit(reader.config(), &settings, &data)?;
            check_prompts(reader.config(), &settings, &data, &tokenizer)?;
        }

        output::create(&out)?;
        let original = input::original(args, &out)?;
        let source = given.map_or_else(|| CheckpointReader::open(&original), Ok)?;
        data.write_generated(&out)?;
        output::write_recipe(&out, args, &settings, &original)?;
        let prompts = data
            .valid_records
            .iter()
            .take(settings.prompts)
            .cloned()
            .collect();
        let examples = data.valid.clone();
        let eval_data = EvalData {
            examples,
            prompts,
            format: settings.format.clone(),
        };
        let table = ResultTable::default();
        Ok(Self {
            settings,
            out,
            original,
            source,
            device,
            data,
            eval_data,
            cancel,
            table,
        })
    }

    /// Prints what is going to happen.
    pub fn announce(&self) {
        let config = self.source.config();
        println!(
            "model   {} ({} layers, {} experts, {:.1} M parameters)",
            self.original.display(),
            config.num_hidden_layers,
            config.num_local_experts,
            (config.num_expert_weights() + config.num_dense_weights()) as f64 / 1e6
        );
        println!(
            "data    {} conversations to train on, {} held out, {} of them answered",
            self.data.train.len(),
            self.data.valid.len(),
            self.eval_data.prompts.len()
        );
        println!("output  {}\n", self.out.display());
    }

    /// All stages. Returns early, with what was reached, after Ctrl-C.
    pub fn stages(&mut self) -> Result<()> {
        let original = self.original.clone();
        self.evaluate(ORIGINAL, 0, &original)?;

        if self.cancel.pressed() {
            return Ok(());
        }
        let bar = Bar::new("loading");
        let model = self
            .source
            .load(&self.device, FloatDType::F32, |p| bar.checkpoint(&p))?;
        bar.finish();
        let sft = self.train(SFT, "sft", model, self.settings.sft.clone())?;
        let sft_dir = self.save_bf16("sft", &sft.model)?;
        self.evaluate(SFT, sft.best_step, &sft_dir)?;
        self.plot(&[(SFT, 0, &sft.history)])?;
        if self.cancel.pressed() {
            return Ok(());
        }

        let (ptq, quantized) = insert_quantizers(sft.model.clone(), &self.settings.policy)?;
        print_quantized(&self.settings.policy.name, &quantized);
        let ptq_dir = self.export("sft_ptq", &ptq)?;
        self.evaluate(PTQ, sft.best_step, &ptq_dir)?;
        if self.cancel.pressed() {
            return Ok(());
        }

        let start = sft.best_step;
        let qat = self.train(QAT, "sft_qat", ptq, self.settings.qat.clone())?;
        let qat_dir = self.export("sft_qat", &qat.model)?;
        self.evaluate(QAT, start + qat.best_step, &qat_dir)?;
        self.plot(&[(SFT, 0, &sft.history), (QAT, start, &qat.history)])?;
        if self.cancel.pressed() {
            return Ok(());
        }

        // The same steps once more without quantizers: what more training alone would have given.
        let longer = self.train(LONGER, "sft_longer", sft.model, self.settings.qat.clone())?;
        let longer_dir = self.save_bf16("sft_longer", &longer.model)?;
        self.evaluate(LONGER, start + longer.best_step, &longer_dir)?;
        let (longer_ptq, _) = insert_quantizers(longer.model, &self.settings.policy)?;
        let longer_ptq_dir = self.export("sft_longer_ptq", &longer_ptq)?;
        self.evaluate(LONGER_PTQ, start + longer.best_step, &longer_ptq_dir)?;
        let curves = [
            (SFT, 0, &sft.history),
            (QAT, start, &qat.history),
            (LONGER, start, &longer.history),
        ];
        self.plot(&curves)
    }

    fn train(
        &self,
        name: &str,
        dir: &str,
        model: GptOss,
        config: TrainConfig,
    ) -> Result<StageOutcome> {
        let dir = self.out.join("logs").join(dir);
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let data = (self.data.train.clone(), self.data.valid.clone());
        let (console, interrupter) = (console::training(), self.cancel.interrupter());
        Ok(train(
            name,
            &dir,
            model,
            data,
            &config,
            console,
            interrupter,
        )?)
    }

    fn save_bf16(&self, dir: &str, model: &GptOss) -> Result<PathBuf> {
        let dir = self.out.join(dir);
        let bar = Bar::new("saving BF16");
        CheckpointWriter::new(CheckpointForm::Bf16)
            .with_source(&self.source)
            .save(model, &dir, |p| bar.checkpoint(&p))?;
        bar.finish();
        Ok(dir)
    }

    fn export(&self, dir: &str, model: &GptOss) -> Result<PathBuf> {
        let dir = self.out.join(dir);
        let bar = Bar::new("exporting MXFP4");
        let report = export_mxfp4(model, &dir, &self.source, false, |p| bar.checkpoint(&p))?;
        bar.finish();
        println!(
            "exported {}: {} quantized weights read back, all bits equal to the trained ones",
            dir.display(),
            report.verified_weights
        );
        Ok(dir)
    }

    /// Evaluates a directory and adds its row, unless Ctrl-C came meanwhile.
    fn evaluate(&mut self, name: &str, steps: usize, dir: &Path) -> Result<()> {
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
        println!(
            "{name}: validation loss {:.4}, pass rate {} ({seconds:.0} s)",
            report.loss.loss, report.pass_rate
        );
        self.table.rows.push(ResultRow {
            name: name.into(),
            steps,
            dir: dir.to_path_buf(),
            report,
        });
        output::write_table(&self.out, &self.table)
    }

    fn plot(&self, stages: &[(&str, usize, &History)]) -> Result<()> {
        let ptq = self.table.row(PTQ).map(|row| row.report.loss.loss);
        output::write_plot(&self.out, stages, ptq)
    }

    /// Prints the table and what it says.
    pub fn conclude(&self) {
        println!("\n{}\n", self.table.to_markdown());
        let table = &self.table;
        match (table.ptq_gap(SFT, PTQ), table.recovered(SFT, PTQ, QAT)) {
            (Some(gap), Some(recovered)) => println!(
                "Quantizing after SFT costs {gap:.4} nats of validation loss; QAT wins back {:.0} % of it.",
                recovered * 100.0
            ),
            (Some(_), None) if table.row(QAT).is_some() => {
                println!("Quantizing after SFT costs nothing here: there is nothing to win back.");
            }
            _ => {}
        }
        println!("results  {}", self.out.join("results.md").display());
        if self.out.join("loss.svg").exists() {
            println!("curves   {}", self.out.join("loss.svg").display());
        }
        if table.row(QAT).is_some() {
            println!(
                "model    {} (MXFP4, ready to serve)",
                self.out.join("sft_qat").display()
            );
        }
    }
}

/// Refuses a tokenizer of another model, and a model the machine's memory cannot hold.
fn check_fit(config: &GptOssConfig, settings: &Settings, data: &input::Data) -> Result<()> {
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

/// Refuses prompts that leave no room for an answer, before anything is computed.
fn check_prompts(
    config: &GptOssConfig,
    settings: &Settings,
    data: &input::Data,
    tokenizer: &Tokenizer,
) -> Result<()> {
    for record in data.valid_records.iter().take(settings.prompts) {
        let prompt = settings.format.prompt(record, tokenizer)?;
        ensure!(
            prompt.len() + settings.eval.max_new_tokens <= config.max_position_embeddings,
            "dataset line {}: {} prompt tokens and --max-new-tokens {} exceed the context of {} tokens",
            record.line.unwrap_or(0),
            prompt.len(),
            settings.eval.max_new_tokens,
            config.max_position_embeddings
        );
    }
    Ok(())
}

fn print_quantized(policy: &str, weights: &[QuantizedWeight]) {
    println!("\nquantized by {policy}:");
    let total: usize = weights
        .iter()
        .map(|weight| weight.shape.iter().product::<usize>())
        .sum();
    for weight in weights {
        println!(
            "  {:<40} {:<20} {}",
            weight.path,
            format!("{:?}", weight.shape),
            weight.scheme
        );
    }
    println!(
        "  {} matrices, {:.1} M weights\n",
        weights.len(),
        total as f64 / 1e6
    );
}
