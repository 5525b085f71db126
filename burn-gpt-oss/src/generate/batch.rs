//! Sequences that are generated together.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{Finish, GenerateOptions, NewToken, PromptCache, Sampler};
use crate::error::GptOssError;
use crate::kv_cache::KvCache;
use crate::model::GptOss;

/// Tokens of all prompts that one pass takes.
const PREFILL: usize = 512;

/// Token of padding, which nothing sees.
const PADDING: u32 = 0;

/// Prompts, and then the sequences that continue them.
pub(super) struct Batch {
    /// Numbers of the prompts.
    prompts: Vec<usize>,
    /// The prompts, padded in front to one length.
    columns: Vec<Vec<u32>>,
    cache: KvCache,
    /// Open sequences, a row of the cache each; none before the prompts are seen.
    rows: Vec<Row>,
}

struct Row {
    prompt: usize,
    sample: usize,
    /// Prompt and continuation.
    tokens: Vec<u32>,
    n_new: usize,
    sampler: Sampler,
    finish: Option<Finish>,
}

impl Batch {
    /// `start` is what is known already of the prompt, if it is the only one.
    pub fn new(
        model: &GptOss,
        all: &[Vec<u32>],
        prompts: Vec<usize>,
        start: Option<KvCache>,
    ) -> Self {
        let lengths = prompts.iter().map(|prompt| all[*prompt].len());
        let longest = lengths.clone().max().unwrap_or(0);
        let padding: Vec<usize> = lengths.map(|len| longest - len).collect();
        let padded = |(prompt, padding): (&usize, &usize)| {
            let mut columns = vec![PADDING; *padding];
            columns.extend(&all[*prompt]);
            columns
        };
        let columns = prompts.iter().zip(&padding).map(padded).collect();
        let cache = start.unwrap_or_else(|| KvCache::new(model.config(), padding));
        Self {
            prompts,
            columns,
            cache,
            rows: Vec::new(),
        }
    }

    /// Columns of the prompts seen, and in all.
    pub fn seen(&self) -> (usize, usize) {
        let total = self.columns.first().map_or(0, Vec::len);
        (self.cache.n_columns().min(total), total)
    }

    /// Whether there is nothing left to do.
    pub fn is_done(&self) -> bool {
        let (seen, total) = self.seen();
        seen == total && self.rows.is_empty()
    }

    /// Sees some columns of the prompts; with the last one, sequences begin. The last column is a step of
    /// its own if there is a cache to keep what comes before it.
    pub fn prefill(
        &mut self,
        model: &GptOss,
        options: &GenerateOptions,
        device: &Device,
        keep: Option<&mut PromptCache>,
    ) -> Result<Vec<NewToken>, GptOssError> {
        let (seen, total) = self.seen();
        let n_columns = (PREFILL / self.columns.len()).max(1);
        let end = match keep.is_some() && seen + 1 < total {
            true => (seen + n_columns).min(total - 1),
            false => (seen + n_columns).min(total),
        };
        let columns = self.columns.iter().map(|row| &row[seen..end]);
        let hidden = model.forward_cached(ids(columns, device), &mut self.cache);
        if let Some(keep) = keep.filter(|_| end + 1 == total) {
            keep.store(&self.columns[0][..end], &self.cache);
        }
        if end < total {
            return Ok(Vec::new());
        }
        self.open_rows(options, device);
        let logits = last_logits(model, hidden)?;
        self.choose(options, &logits, options.samples.max(1), device)
    }

    /// One more token for every open sequence.
    pub fn decode(
        &mut self,
        model: &GptOss,
        options: &GenerateOptions,
        device: &Device,
    ) -> Result<Vec<NewToken>, GptOssError> {
        self.drop_finished(device);
        if self.rows.is_empty() {
            return Ok(Vec::new());
        }
        let last = self
            .rows
            .iter()
            .map(|row| &row.tokens[row.tokens.len() - 1..]);
        let hidden = model.forward_cached(ids(last, device), &mut self.cache);
        let logits = last_logits(model, hidden)?;
        self.choose(options, &logits, 1, device)
    }

    /// Ends a sequence before its next token.
    pub fn end(&mut self, prompt: usize, sample: usize) {
        let mut rows = self.rows.iter_mut();
        if let Some(row) = rows.find(|row| (row.prompt, row.sample) == (prompt, sample)) {
            row.finish = row.finish.or(Some(Finish::Ended));
        }
    }

    fn open_rows(&mut self, options: &GenerateOptions, device: &Device) {
        let samples = options.samples.max(1);
        if samples > 1 {
            let rows: Vec<usize> = (0..self.prompts.len())
                .flat_map(|row| std::iter::repeat_n(row, samples))
                .collect();
            self.cache.select_rows(&rows, device);
        }
        let total = self.seen().1;
        for (row, (&prompt, columns)) in self.prompts.iter().zip(&self.columns).enumerate() {
            let padding = total - self.cache.n_tokens(row * samples);
            for sample in 0..samples {
                let sequence = (prompt * samples + sample) as u64;
                self.rows.push(Row {
                    prompt,
                    sample,
                    tokens: columns[padding..].to_vec(),
                    n_new: 0,
                    sampler: Sampler::new(&options.sampling, sequence),
                    finish: None,
                });
            }
        }
    }

    /// Every row takes a token by its logits, of which each belongs to `rows_per_logits` rows.
    fn choose(
        &mut self,
        options: &GenerateOptions,
        logits: &[f32],
        rows_per_logits: usize,
        device: &Device,
    ) -> Result<Vec<NewToken>, GptOssError> {
        let vocab = logits.len() * rows_per_logits / self.rows.len();
        let mut scratch = Vec::with_capacity(vocab);
        let mut new = Vec::with_capacity(self.rows.len());
        for (i, row) in self.rows.iter_mut().enumerate() {
            scratch.clear();
            scratch.extend_from_slice(&logits[i / rows_per_logits * vocab..][..vocab]);
            new.push(row.choose(options, &mut scratch)?);
        }
        self.drop_finished(device);
        Ok(new)
    }

    fn drop_finished(&mut self, device: &Device) {
        let open = |i: &usize| self.rows[*i].finish.is_none();
        let open: Vec<usize> = (0..self.rows.len()).filter(open).collect();
        if open.len() == self.rows.len() {
            return;
        }
        self.rows.retain(|row| row.finish.is_none());
        if !open.is_empty() {
            self.cache.select_rows(&open, device);
        }
    }
}

impl Row {
    fn choose(
        &mut self,
        options: &GenerateOptions,
        logits: &mut [f32],
    ) -> Result<NewToken, GptOssError> {
        let token = self.sampler.choose(logits, &self.tokens)?;
        self.tokens.push(token);
        self.n_new += 1;
        if options.stop_tokens.contains(&token) {
            self.finish = Some(Finish::StopToken);
        } else if self.n_new == options.max_new_tokens {
            self.finish = Some(Finish::Length);
        }
        Ok(NewToken {
            prompt: self.prompt,
            sample: self.sample,
            token,
            finish: self.finish,
        })
    }
}

/// Token ids `[rows, len]`.
pub(super) fn ids<'a>(rows: impl Iterator<Item = &'a [u32]>, device: &Device) -> Tensor<2, Int> {
    let rows: Vec<&[u32]> = rows.collect();
    let shape = [rows.len(), rows.first().map_or(0, |row| row.len())];
    let ids: Vec<i32> = rows.concat().into_iter().map(|id| id as i32).collect();
    Tensor::from_data(TensorData::new(ids, shape), device)
}

/// The logits of the last column, row by row.
pub(super) fn last_logits(model: &GptOss, hidden: Tensor<3>) -> Result<Vec<f32>, GptOssError> {
    let len = hidden.dims()[1];
    let logits = model.logits(hidden.narrow(1, len - 1, 1));
    logits
        .try_into_vec_as::<f32>()
        .map_err(|error| GptOssError::Device {
            action: "compute the next token",
            message: error.to_string(),
        })
}
