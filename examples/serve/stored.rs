//! Responses that later ones may go on from, the oldest forgotten first. They are gone with the server.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Responses that are kept, and bytes of their conversations.
const RESPONSES: usize = 256;
const BYTES: usize = 64 << 20;

/// A response with the conversation that led to it.
#[derive(Clone)]
struct Kept {
    response: Value,
    items: Vec<Value>,
    bytes: usize,
}

#[derive(Default)]
pub struct Stored(Mutex<VecDeque<Kept>>);

impl Stored {
    /// Keeps a response; `items` are all items of its conversation, its output included.
    pub fn keep(&self, response: &Value, items: Vec<Value>) {
        let of_items: usize = items.iter().map(|item| item.to_string().len()).sum();
        let bytes = of_items + response.to_string().len();
        let kept = Kept {
            response: response.clone(),
            items,
            bytes,
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push_back(kept);
        while all.len() > RESPONSES || all.iter().map(|kept| kept.bytes).sum::<usize>() > BYTES {
            all.pop_front();
        }
    }

    pub fn response(&self, id: &str) -> Option<Value> {
        self.find(id, |kept| kept.response.clone())
    }

    /// The conversation up to a response.
    pub fn items(&self, id: &str) -> Option<Vec<Value>> {
        self.find(id, |kept| kept.items.clone())
    }

    /// Whether there was such a response.
    pub fn forget(&self, id: &str) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.len();
        all.retain(|kept| kept.response["id"] != id);
        all.len() < before
    }

    fn find<T>(&self, id: &str, read: impl Fn(&Kept) -> T) -> Option<T> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|kept| kept.response["id"] == id).map(read)
    }
}
