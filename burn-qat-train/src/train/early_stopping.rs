use std::num::NonZeroUsize;

use burn::train::EarlyStoppingStrategy;
use burn::train::metric::store::{Aggregate, EventStoreClient, Split};

use super::metrics::LOSS;
use super::run_log::RunLog;

/// Ends training after evaluations that are no better than the best before them.
#[derive(Clone)]
pub(super) struct StopEarly(pub RunLog, pub NonZeroUsize);

impl EarlyStoppingStrategy for StopEarly {
    fn should_stop(&mut self, interval: usize, store: &EventStoreClient) -> bool {
        // Metrics are logged on another thread: its answer comes after all that was sent before.
        let _ = store.find_metric(LOSS, interval, Aggregate::Mean, &Split::Valid);
        self.0.history().stops_early(self.1)
    }
}
