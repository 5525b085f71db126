use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;
use rand::seq::SliceRandom;
use rand::{SeedableRng, rngs::StdRng};

use burn_gpt_oss::GptOss;

use super::{ExampleData, StepBatch, Trainable};
use crate::error::QatError;

/// An interval with all of its steps.
const WHOLE: usize = usize::MAX;

/// Feeds Burn's training loop one optimizer step at a time.
///
/// Burn validates and keeps checkpoints once per epoch; here one of its epochs is one evaluation
/// interval of a fixed number of steps. Data goes on where the last interval ended and is shuffled
/// anew after each pass over it. An incomplete last batch of a pass is kept, not dropped.
pub struct StepLoader<M: Trainable = GptOss> {
    /// Example indices of every step of the run.
    steps: Arc<Vec<Vec<usize>>>,
    examples: ExampleData<M::Example>,
    micro_batch_size: usize,
    steps_per_interval: usize,
    next_step: Arc<AtomicUsize>,
    /// Where the first interval of a run that goes on ends; it may have no steps left.
    first_end: Arc<AtomicUsize>,
    device: Device,
}

impl<M: Trainable> StepLoader<M> {
    /// A loader for training: `total_steps` steps of `batch_size` sequences each.
    ///
    /// # Panics
    /// If a size is zero or there are no examples.
    pub fn train(
        examples: impl Into<ExampleData<M::Example>>,
        batch_size: usize,
        micro_batch_size: usize,
        total_steps: usize,
        steps_per_interval: usize,
        seed: u64,
        device: &Device,
    ) -> Self {
        let examples = examples.into();
        assert!(
            batch_size > 0
                && micro_batch_size > 0
                && steps_per_interval > 0
                && !examples.is_empty()
        );
        let mut rng = StdRng::seed_from_u64(seed);
        let mut order: Vec<usize> = (0..examples.len()).collect();
        let mut steps = Vec::with_capacity(total_steps);
        while steps.len() < total_steps {
            order.shuffle(&mut rng);
            steps.extend(order.chunks(batch_size).map(<[usize]>::to_vec));
        }
        steps.truncate(total_steps);
        Self::new(
            examples,
            steps,
            micro_batch_size,
            steps_per_interval,
            device,
        )
    }

    /// A loader for validation: every example once per interval, similar lengths together.
    ///
    /// # Errors
    /// Examples that cannot be fetched.
    ///
    /// # Panics
    /// If the size is zero or there are no examples.
    pub fn valid(
        examples: impl Into<ExampleData<M::Example>>,
        micro_batch_size: usize,
        device: &Device,
    ) -> Result<Self, QatError> {
        let examples = examples.into();
        assert!(micro_batch_size > 0 && !examples.is_empty());
        let lengths = examples.iter().map(|example| Ok(M::n_tokens(&example?)));
        let lengths: Vec<usize> = lengths
            .collect::<Result<_, DatasetError>>()
            .map_err(|error| QatError::examples("validation data", &error))?;
        let mut order: Vec<usize> = (0..examples.len()).collect();
        order.sort_by_key(|i| lengths[*i]);
        let steps: Vec<_> = order
            .chunks(micro_batch_size)
            .map(<[usize]>::to_vec)
            .collect();
        let interval = steps.len();
        Ok(Self::new(
            examples,
            steps,
            micro_batch_size,
            interval,
            device,
        ))
    }

    /// The loader of a run that goes on after so many steps, with so many evaluations behind it.
    pub fn starting_at(self, step: usize, n_evaluations: usize) -> Self {
        let end = (n_evaluations + 1) * self.steps_per_interval;
        Self {
            next_step: Arc::new(AtomicUsize::new(step)),
            first_end: Arc::new(AtomicUsize::new(end)),
            ..self
        }
    }

    fn new(
        examples: ExampleData<M::Example>,
        steps: Vec<Vec<usize>>,
        micro_batch_size: usize,
        steps_per_interval: usize,
        device: &Device,
    ) -> Self {
        Self {
            steps: Arc::new(steps),
            examples,
            micro_batch_size,
            steps_per_interval,
            next_step: Arc::new(AtomicUsize::new(0)),
            first_end: Arc::new(AtomicUsize::new(WHOLE)),
            device: device.clone(),
        }
    }

    fn batch(&self, step: usize) -> Result<StepBatch<M::Batch>, DatasetError> {
        let fetched = self.steps[step]
            .iter()
            .map(|i| Ok((*i, self.examples.get(*i)?)));
        let mut fetched: Vec<(usize, M::Example)> = fetched.collect::<Result<_, DatasetError>>()?;
        // Similar lengths share a micro-batch and waste less on padding; the step's gradient does
        // not depend on the order.
        fetched.sort_by_key(|(_, example)| std::cmp::Reverse(M::n_tokens(example)));
        let chosen: Vec<_> = fetched.iter().map(|(_, example)| example).collect();
        let batch = StepBatch::of::<M>(&chosen, self.micro_batch_size, &self.device);
        Ok(batch.numbered(fetched.iter().map(|(i, _)| *i).collect()))
    }
}

impl<M: Trainable> DataLoader<StepBatch<M::Batch>> for StepLoader<M> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<StepBatch<M::Batch>> + 'a> {
        let next = self.next_step.load(Ordering::Relaxed);
        let (start, end) = match self.first_end.swap(WHOLE, Ordering::Relaxed) {
            WHOLE => {
                let start = next % self.steps.len();
                (start, start + self.steps_per_interval)
            }
            end => (next, end),
        };
        let end = end.min(self.steps.len());
        Box::new(Interval {
            loader: self,
            start,
            next: start,
            end,
        })
    }

    fn num_items(&self) -> usize {
        self.steps_per_interval
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<StepBatch<M::Batch>>> {
        Arc::new(Self {
            device: device.clone(),
            ..self.clone()
        })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<StepBatch<M::Batch>>> {
        let steps = self.steps[start.min(self.steps.len())..end.min(self.steps.len())].to_vec();
        Arc::new(Self {
            steps_per_interval: steps.len(),
            first_end: Arc::new(AtomicUsize::new(WHOLE)),
            steps: Arc::new(steps),
            next_step: Arc::new(AtomicUsize::new(0)),
            ..self.clone()
        })
    }
}

impl<M: Trainable> Clone for StepLoader<M> {
    fn clone(&self) -> Self {
        Self {
            steps: self.steps.clone(),
            examples: self.examples.clone(),
            next_step: self.next_step.clone(),
            first_end: self.first_end.clone(),
            device: self.device.clone(),
            ..*self
        }
    }
}

/// The steps of one evaluation interval.
struct Interval<'a, M: Trainable> {
    loader: &'a StepLoader<M>,
    start: usize,
    next: usize,
    end: usize,
}

impl<M: Trainable> Iterator for Interval<'_, M> {
    type Item = Result<StepBatch<M::Batch>, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let batch = self.loader.batch(self.next);
        self.next += 1;
        self.loader.next_step.store(self.next, Ordering::Relaxed);
        Some(batch)
    }
}

impl<M: Trainable> DataLoaderIterator<StepBatch<M::Batch>> for Interval<'_, M> {
    fn progress(&self) -> Progress {
        Progress::new(
            self.next - self.start,
            self.end.saturating_sub(self.start),
            Some("steps".into()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::TokenizedExample;

    fn example(n: usize) -> TokenizedExample {
        TokenizedExample {
            tokens: vec![n as u32; n + 2],
            loss_mask: vec![true; n + 2],
            starts: Vec::new(),
        }
    }

    #[test]
    fn intervals_continue_and_every_example_is_seen_once_per_pass() {
        let examples: Vec<_> = (0..10).map(example).collect();
        let loader: StepLoader = StepLoader::train(examples, 4, 2, 6, 3, 1, &Device::flex());
        let mut sizes = Vec::new();
        for _ in 0..2 {
            let batches: Vec<_> = loader
                .iter()
                .map(|batch| batch.expect("in memory"))
                .collect();
            assert_eq!(batches.len(), 3);
            sizes.extend(batches.iter().map(StepBatch::n_tokens));
        }
        let pass: usize = (0..10).map(|n| n + 1).sum();
        assert_eq!(sizes[..3].iter().sum::<usize>(), pass);
        assert_eq!(sizes[3..].iter().sum::<usize>(), pass);
        assert_ne!(sizes[..3], sizes[3..], "passes are shuffled differently");
    }

    #[test]
    fn validation_repeats_from_the_start() {
        let loader: StepLoader =
            StepLoader::valid((0..5).map(example).collect::<Vec<_>>(), 2, &Device::flex()).unwrap();
        for _ in 0..2 {
            assert_eq!(loader.iter().count(), 3);
        }
    }
}
