//! Keys and values of prompts that were seen, for prompts that begin alike.

use crate::kv_cache::KvCache;

/// Beginnings of prompts with their keys and values, the least recently used ones forgotten first.
#[derive(Debug)]
pub(super) struct PrefixCache {
    entries: Vec<Entry>,
    limit: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    tokens: Vec<u32>,
    cache: KvCache,
    used: u64,
}

impl PrefixCache {
    /// A cache of at most so many bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            entries: Vec::new(),
            limit,
            clock: 0,
        }
    }

    /// Memory of all entries.
    pub fn n_bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.cache.n_bytes()).sum()
    }

    /// The longest beginning of a prompt that is known, if something is left to compute.
    pub fn find(&mut self, prompt: &[u32]) -> Option<KvCache> {
        self.clock += 1;
        let clock = self.clock;
        let begins = |entry: &&mut Entry| {
            entry.tokens.len() < prompt.len() && prompt.starts_with(&entry.tokens)
        };
        let found = self.entries.iter_mut().filter(begins);
        found.max_by_key(|entry| entry.tokens.len()).map(|entry| {
            entry.used = clock;
            entry.cache.clone()
        })
    }

    /// Remembers a beginning.
    pub fn store(&mut self, tokens: &[u32], cache: &KvCache) {
        self.clock += 1;
        if let Some(known) = self.entries.iter_mut().find(|entry| entry.tokens == tokens) {
            known.used = self.clock;
            return;
        }
        if cache.n_bytes() > self.limit {
            return;
        }
        self.entries.push(Entry {
            tokens: tokens.to_vec(),
            cache: cache.clone(),
            used: self.clock,
        });
        while self.n_bytes() > self.limit {
            let oldest = (0..self.entries.len()).min_by_key(|i| self.entries[*i].used);
            if let Some(oldest) = oldest {
                self.entries.swap_remove(oldest);
            }
        }
    }
}
