use crate::kv_cache::KvCache;

/// What a model has seen of the last prompt, so that a longer one with the same beginning costs its end
/// alone: the turns of a chat, or questions about one document.
///
/// It holds keys and values of its own: a generation that begins with it copies them when it writes.
/// Give it to one model only: what it holds belongs to the weights that computed it.
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

    /// Tokens whose work a prompt that begins with them is spared.
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
