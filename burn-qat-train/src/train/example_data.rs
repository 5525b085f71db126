use std::sync::Arc;

use burn::data::dataset::{Dataset, DatasetError, InMemDataset};

/// Examples that are fetched one by one: a list in memory, or any of Burn's datasets.
pub struct ExampleData<E> {
    source: Arc<dyn Dataset<E>>,
    fingerprint: Option<String>,
}

impl<E> ExampleData<E> {
    /// Examples of a dataset.
    pub fn new(source: impl Dataset<E> + 'static) -> Self {
        Self {
            source: Arc::new(source),
            fingerprint: None,
        }
    }

    /// A text that tells these examples apart from others, so that a stage need not read all of them before it
    /// begins. Each of them must have a target.
    pub fn with_fingerprint(self, fingerprint: impl Into<String>) -> Self {
        Self {
            fingerprint: Some(fingerprint.into()),
            ..self
        }
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.source.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An example by its number.
    ///
    /// # Errors
    /// What its dataset says.
    ///
    /// # Panics
    /// If there is no such number.
    pub fn get(&self, index: usize) -> Result<E, DatasetError> {
        self.source.get(index)
    }

    pub(crate) fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// All examples, in their order.
    ///
    /// # Errors
    /// What their dataset says, each for itself.
    pub fn iter(&self) -> impl Iterator<Item = Result<E, DatasetError>> {
        (0..self.len()).map(|index| self.get(index))
    }
}

impl<E> Clone for ExampleData<E> {
    fn clone(&self) -> Self {
        Self {
            source: Arc::clone(&self.source),
            fingerprint: self.fingerprint.clone(),
        }
    }
}

impl<E: Clone + Send + Sync + 'static> From<Vec<E>> for ExampleData<E> {
    fn from(examples: Vec<E>) -> Self {
        Self::new(InMemDataset::new(examples))
    }
}

impl<E: Clone + Send + Sync + 'static> FromIterator<E> for ExampleData<E> {
    fn from_iter<I: IntoIterator<Item = E>>(examples: I) -> Self {
        examples.into_iter().collect::<Vec<E>>().into()
    }
}
