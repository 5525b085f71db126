//! Burn's dashboard in the place of one line, with the feature `tui` on a terminal.

use std::error::Error;

use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::tui::TuiMetricsRendererWrapper;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use burn::train::{Interrupter, LearnerSummary};

use super::StageProgress;

/// Shows what [`StageProgress`] watches.
pub(super) struct Dashboard {
    progress: StageProgress,
    screen: TuiMetricsRendererWrapper,
    /// What the dashboard stops, and resets at its end.
    stop: Interrupter,
    /// What ends the run.
    asked: Interrupter,
}

impl Dashboard {
    pub fn new(progress: StageProgress, asked: Interrupter) -> Self {
        let stop = Interrupter::new();
        Self {
            progress,
            screen: TuiMetricsRendererWrapper::new(stop.clone(), None),
            stop,
            asked,
        }
    }
}

/// The same once more: Burn's is no `Clone`.
fn copy(state: &MetricState) -> MetricState {
    match state {
        MetricState::Generic(entry) => MetricState::Generic(entry.clone()),
        MetricState::Numeric(entry, value) => MetricState::Numeric(entry.clone(), value.clone()),
    }
}

impl MetricsRendererTraining for Dashboard {
    fn update_train(&mut self, state: MetricState) {
        self.progress.update_train(copy(&state));
        self.screen.update_train(state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.progress.update_valid(copy(&state));
        self.screen.update_valid(state);
    }

    fn on_train_end(&mut self, summary: Option<LearnerSummary>) -> Result<(), Box<dyn Error>> {
        self.screen.on_train_end(summary)
    }
}

impl TrainingProgressLogger for Dashboard {
    fn start(&mut self, epochs: usize, first: usize, items: Option<usize>, label: Option<&str>) {
        self.progress.start(epochs, first, items, label);
        self.screen.start(epochs, first, items, label);
    }

    fn update_epoch(&mut self, epoch: usize) {
        self.progress.update_epoch(epoch);
        self.screen.update_epoch(epoch);
    }

    fn start_split(&mut self, split: &str, items: usize) {
        self.progress.start_split(split, items);
        self.screen.start_split(split, items);
    }

    fn update_split(&mut self, processed: usize) {
        self.progress.update_split(processed);
        self.screen.update_split(processed);
        if self.stop.should_stop() {
            self.asked.stop(Some("stopped from the dashboard"));
        }
    }

    fn end_split(&mut self) {
        self.progress.end_split();
        self.screen.end_split();
    }

    fn end(&mut self) {
        self.progress.end();
        self.screen.end();
    }

    fn log_event_training(&mut self, event: String) {
        self.screen.log_event_training(event);
    }
}

impl MetricsRenderer for Dashboard {
    fn manual_close(&mut self) {
        self.screen.manual_close();
    }

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.progress.register_metric(definition.clone());
        self.screen.register_metric(definition);
    }
}

impl MetricsRendererEvaluation for Dashboard {
    fn update_test(&mut self, name: EvaluationName, state: MetricState) {
        self.screen.update_test(name, state);
    }
}

impl EvaluationProgressLogger for Dashboard {
    fn start_global_progress(&mut self, tests: usize) {
        self.screen.start_global_progress(tests);
    }

    fn start_test(&mut self, name: &str, items: usize) {
        self.screen.start_test(name, items);
    }

    fn update_test_progress(&mut self, processed: usize) {
        self.screen.update_test_progress(processed);
    }

    fn end_test(&mut self) {
        self.screen.end_test();
    }

    fn end_global_progress(&mut self) {
        self.screen.end_global_progress();
    }

    fn log_event_evaluation(&mut self, event: String) {
        self.screen.log_event_evaluation(event);
    }
}
