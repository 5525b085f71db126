use std::collections::HashMap;
#[cfg(feature = "tui")]
use std::io::IsTerminal;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use burn::train::Interrupter;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use indicatif::{ProgressBar, ProgressStyle};

use super::guard::{Found, NonFiniteStep};
use super::metrics::{LOSS, TOKENS};

/// Where progress goes.
#[derive(Clone)]
pub enum Console {
    /// One line on the terminal (standard error), redrawn in place; with the feature `tui` and standard output on a
    /// terminal Burn's dashboard.
    Terminal,
    /// Whole lines, for logs and pipes: one per evaluation and at most one every ten seconds.
    Lines(Arc<dyn Fn(&str) + Send + Sync>),
    /// Nowhere.
    Silent,
}

/// Shows loss, learning rate, tokens per second and the remaining time of one stage on one line, and
/// stops the loop when the loss is no longer finite.
pub struct StageProgress {
    console: Console,
    bar: ProgressBar,
    stage: String,
    total_steps: usize,
    /// Steps of the runs that this one goes on from.
    first_step: usize,
    step: usize,
    validating: bool,
    names: HashMap<MetricId, String>,
    train: HashMap<String, f64>,
    valid_loss: Option<f64>,
    tokens: f64,
    started: Instant,
    last_line: Instant,
    interrupter: Interrupter,
    divergence: Found,
}

impl StageProgress {
    pub(super) fn new(
        console: Console,
        stage: &str,
        (first_step, total_steps): (usize, usize),
        interrupter: Interrupter,
        divergence: Found,
    ) -> Self {
        let bar = match console {
            Console::Terminal => ProgressBar::new(total_steps as u64).with_style(style()),
            _ => ProgressBar::hidden(),
        };
        bar.set_prefix(stage.to_string());
        bar.set_position(first_step as u64);
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(250));
        let now = Instant::now();
        Self {
            console,
            bar,
            stage: stage.into(),
            total_steps,
            first_step,
            step: first_step,
            validating: false,
            names: HashMap::new(),
            train: HashMap::new(),
            valid_loss: None,
            tokens: 0.0,
            started: now,
            last_line: now,
            interrupter,
            divergence,
        }
    }

    /// What Burn's loop tells; `asked` ends the run.
    #[cfg_attr(not(feature = "tui"), allow(unused_variables))]
    pub(super) fn into_renderer(self, asked: Interrupter) -> Box<dyn MetricsRenderer> {
        #[cfg(feature = "tui")]
        if matches!(self.console, Console::Terminal) && std::io::stdout().is_terminal() {
            let silent = Self {
                console: Console::Silent,
                bar: ProgressBar::hidden(),
                ..self
            };
            return Box::new(super::dashboard::Dashboard::new(silent, asked));
        }
        Box::new(self)
    }

    fn message(&self) -> String {
        let get = |name: &str| self.train.get(name).copied().unwrap_or(f64::NAN);
        let seconds = self.started.elapsed().as_secs_f64();
        let valid = self
            .valid_loss
            .map_or(String::new(), |loss| format!("  val {loss:.4}"));
        format!(
            "loss {:.4}{valid}  lr {:.2e}  {:.0} tok/s",
            get(LOSS),
            get("Learning Rate"),
            self.tokens / seconds
        )
    }

    /// A whole line for logs, with the remaining time as the bar would show it.
    fn line(&self) -> String {
        let elapsed = self.started.elapsed().as_secs_f64();
        let done = self.step - self.first_step;
        let rest = elapsed / done.max(1) as f64 * (self.total_steps - self.step) as f64;
        let (step, total) = (self.step, self.total_steps);
        format!(
            "{} {step}/{total}  {}  ETA {rest:.0} s",
            self.stage,
            self.message()
        )
    }

    fn show(&mut self, force: bool) {
        match &self.console {
            Console::Terminal => {
                self.bar.set_position(self.step as u64);
                self.bar.set_message(self.message());
            }
            Console::Lines(print) if force || self.last_line.elapsed().as_secs() >= 10 => {
                print(&self.line());
                self.last_line = Instant::now();
            }
            _ => {}
        }
    }

    /// Stops the loop at a loss that is not finite.
    fn check(&self, split: &'static str, step: usize, loss: f64) {
        if loss.is_finite() {
            return;
        }
        let divergence = NonFiniteStep {
            split,
            step,
            loss,
            place: None,
            examples: Vec::new(),
        };
        let mut first = self
            .divergence
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(divergence);
        self.interrupter.stop(Some("the loss is not finite"));
    }

    fn name(&self, state: &MetricState) -> Option<(String, f64)> {
        let MetricState::Numeric(entry, Some(value)) = state else {
            return None;
        };
        let is_mean = matches!(value, NumericEntry::Final(_));
        if is_mean != self.validating {
            // Training shows the last batch, validation the mean over all of them.
            return None;
        }
        Some((self.names.get(&entry.metric_id)?.clone(), value.current()))
    }
}

fn style() -> ProgressStyle {
    let template = "{prefix:<12} {bar:24} {pos}/{len}  {msg}  ETA {eta}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl MetricsRendererTraining for StageProgress {
    fn update_train(&mut self, state: MetricState) {
        let Some((name, value)) = self.name(&state) else {
            return;
        };
        if name == LOSS {
            self.check("training", self.step + 1, value);
        }
        self.train.insert(name, value);
    }

    fn update_valid(&mut self, state: MetricState) {
        if let Some((name, value)) = self.name(&state)
            && name == LOSS
        {
            self.check("validation", self.step, value);
            self.valid_loss = Some(value);
        }
    }
}

impl TrainingProgressLogger for StageProgress {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {
        self.started = Instant::now();
    }

    fn start_split(&mut self, split: &str, _: usize) {
        self.validating = split != "train";
    }

    fn update_split(&mut self, _: usize) {
        if !self.validating {
            self.step += 1;
            self.tokens += self.train.get(TOKENS).copied().unwrap_or(0.0);
            self.show(false);
        }
    }

    fn end_split(&mut self) {
        if self.validating {
            self.show(true);
        }
    }

    fn update_epoch(&mut self, _: usize) {}

    fn end(&mut self) {
        self.show(self.step < self.total_steps);
        self.bar.abandon();
    }

    fn log_event_training(&mut self, _: String) {}
}

impl MetricsRenderer for StageProgress {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.names
            .insert(definition.metric_id, definition.name.to_string());
    }
}

impl MetricsRendererEvaluation for StageProgress {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl EvaluationProgressLogger for StageProgress {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}
