use burn::backend::Dispatch;
use burn::tensor::{Bool, Int, Tensor};

use super::extension::{AttentionOptions, KeySegments};

/// Which keys a query sees: never one behind itself, and fewer where a window, padding or documents
/// say so. A description, not a mask: it takes memory for keys, not for pairs.
#[derive(Clone, Debug, Default)]
pub struct Visibility {
    window: Option<usize>,
    first_query: usize,
    /// As in [`KeySegments::Numbered`].
    segments: Option<Tensor<2, Int>>,
}

impl Visibility {
    /// A query sees every key up to itself.
    pub fn causal() -> Self {
        Self::default()
    }

    /// A query sees the real keys of its own document up to itself. Padding may lie on either side;
    /// a padded query sees what a real one would.
    ///
    /// # Shapes
    /// - real: `[batch, keys]`, true = not padding; all are real if `None`
    /// - documents: `[batch, keys]`, a number per key, not negative; one document if `None`
    pub fn new(real: Option<Tensor<2, Bool>>, documents: Option<Tensor<2, Int>>) -> Self {
        let padded = |documents: &Tensor<2, Int>| documents.clone().neg().sub_scalar(1);
        let segments = match (real, documents) {
            (None, documents) => documents,
            (Some(real), None) => Some(real.int().sub_scalar(1)),
            (Some(real), Some(documents)) => {
                let padded = padded(&documents);
                Some(padded.mask_where(real, documents))
            }
        };
        Self {
            segments,
            ..Self::default()
        }
    }

    /// Hides keys `window` and more positions before the query; `None` hides none.
    pub fn with_window(mut self, window: Option<usize>) -> Self {
        self.window = window;
        self
    }

    /// The position of the first query among the keys, 0 by default; more where keys come from a cache.
    pub fn with_first_query(mut self, position: usize) -> Self {
        self.first_query = position;
        self
    }

    pub(super) fn options(&self, scale: f64) -> AttentionOptions {
        AttentionOptions {
            scale: scale as f32,
            window: self.window,
            first_query: self.first_query,
        }
    }

    pub(super) fn segments(&self) -> KeySegments<Dispatch> {
        match &self.segments {
            None => KeySegments::One,
            Some(numbers) => KeySegments::Numbered {
                numbers: numbers.clone().into_dispatch(),
            },
        }
    }

    pub(super) fn check(&self, [batch, len, keys]: [usize; 3]) {
        let end = self.first_query + len;
        assert!(end <= keys, "query {end} lies behind the last key {keys}");
        if let Some(segments) = &self.segments {
            let expected = [batch, keys];
            assert_eq!(segments.dims(), expected, "visibility describes every key");
        }
    }
}
