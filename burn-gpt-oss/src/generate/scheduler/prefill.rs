//! Prompts: which is next, and seeing it part by part.

use super::row::Row;
use super::{Scheduler, memory};
use crate::error::GptOssError;
use crate::generate::batch::{ids, last_logits};
use crate::kv_cache::KvCache;

/// A prompt that is being seen.
pub(super) struct Prefill {
    pub row: Row,
    boundaries: Vec<usize>,
    cache: KvCache,
}

impl Scheduler {
    pub(super) fn see_prompt(&mut self) -> Result<(), GptOssError> {
        if self.prefill.is_none() && self.rows.len() < self.options.max_running {
            self.begin();
        }
        let Some(prefill) = &mut self.prefill else {
            return Ok(());
        };
        let (seen, total) = (prefill.cache.n_columns(), prefill.row.tokens.len());
        let boundary = prefill.boundaries.iter().copied().find(|end| *end > seen);
        let end = boundary
            .unwrap_or(total)
            .min(total)
            .min(seen + self.options.prefill_tokens.max(1));
        let columns = ids([&prefill.row.tokens[seen..end]].into_iter(), &self.device);
        let hidden = self.model.forward_cached(columns, &mut prefill.cache);
        self.stats.prompt_tokens += (end - seen) as u64;
        if prefill.boundaries.contains(&end) {
            self.prefixes
                .store(&prefill.row.tokens[..end], &prefill.cache);
        }
        if end < total {
            return Ok(());
        }
        let mut logits = last_logits(&self.model, hidden)?;
        if let Some(mut prefill) = self.prefill.take() {
            prefill.row.choose(&mut logits);
            self.stats.new_tokens += 1;
            if prefill.row.is_open() {
                self.cache.join(prefill.cache);
                self.rows.push(prefill.row);
            }
        }
        Ok(())
    }

    /// Takes the next request whose client still waits.
    fn begin(&mut self) {
        while self.next_fits()
            && let Some(request) = self.queue.pop()
        {
            if !request.is_wanted() {
                request.reject();
                continue;
            }
            let known = self.prefixes.find(&request.prompt);
            let cache = known.unwrap_or_else(|| KvCache::new(self.model.config(), vec![0]));
            self.stats.cached_tokens += cache.n_columns() as u64;
            let boundaries = request.boundaries.clone();
            let row = Row::new(request, cache.n_columns());
            self.prefill = Some(Prefill {
                row,
                boundaries,
                cache,
            });
            return;
        }
    }

    /// Whether there is memory for the next request beside the running ones, all at their full length.
    fn next_fits(&self) -> bool {
        let Some(next) = self.queue.next() else {
            return false;
        };
        let running = self.rows.iter().map(Row::full_length);
        let longest = running.chain([next.full_length()]).max().unwrap_or(0);
        let config = self.model.config();
        let needed = memory::of_sequences(config, self.rows.len() + 1, longest);
        self.rows.is_empty() || needed <= self.options.cache_bytes
    }
}
