use crate::kv_cache::KvCache;

/// The keys and values of the last prompt. A longer prompt that begins with it costs only the work of its
/// further tokens: the next turn of a chat, or another question about one document.
///
/// A generation that starts from the cache copies keys and values when it writes, so the cache keeps its
/// own. Use a cache with one model only: keys and values depend on the weights that computed them.
#[derive(Clone, Debug, Default)]
pub struct PromptCache {
    tokens: Vec<u32>,
    cache: Option<KvCache>,
}

impl PromptCache {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The cached tokens. A longer prompt that begins with all of them does not compute them again.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The cache of the seen tokens, if `prompt` begins with them and goes on.
    pub(super) fn beginning_of(&self, prompt: &[u32]) -> Option<KvCache> {
        let goes_on = prompt.len() > self.tokens.len() && prompt.starts_with(&self.tokens);
        self.cache.clone().filter(|_| goes_on)
    }

    pub(super) fn store(&mut self, tokens: &[u32], cache: &KvCache) {
        self.tokens = tokens.to_vec();
        self.cache = Some(cache.clone());
    }
}
