//! Where keys are that a step attends to.

use burn::tensor::{Bool, Device, Tensor, TensorData};

use crate::ops::Visibility;

/// The columns of keys as they lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    /// The first column.
    start: usize,
    n: usize,
    /// The key with the first column; those before it are the last ones.
    rotation: usize,
    /// The key of the first query.
    first_query: usize,
    window: Option<usize>,
}

impl Keys {
    /// `n` keys from column `start` on, the first query at one of them.
    pub fn in_order(start: usize, n: usize, first_query: usize) -> Self {
        Self {
            start,
            n,
            rotation: 0,
            first_query,
            window: None,
        }
    }

    /// A ring with one query, whose column is the last.
    pub fn in_ring(column: usize, window: usize) -> Self {
        if column < window {
            return Self::in_order(0, window, column);
        }
        Self {
            start: column + 1 - window,
            n: window,
            rotation: (column + 1) % window,
            // Behind all slots, it sees all of them.
            first_query: window - 1,
            window: None,
        }
    }

    pub fn with_window(self, window: usize) -> Self {
        Self {
            window: Some(window),
            ..self
        }
    }

    /// What the queries of sequences see that begin with so many columns of padding.
    pub fn visibility(&self, padding: &[usize], device: &Device) -> Visibility {
        let real = match padding.iter().any(|padding| *padding > self.start) {
            true => Some(self.real(padding, device)),
            false => None,
        };
        Visibility::new(real, None)
            .with_window(self.window)
            .with_first_query(self.first_query)
    }

    /// `[batch, keys]`
    fn real(&self, padding: &[usize], device: &Device) -> Tensor<2, Bool> {
        let row = |padding: usize| (0..self.n).map(move |key| self.column(key) >= padding);
        let real: Vec<bool> = padding.iter().copied().flat_map(row).collect();
        Tensor::from_data(TensorData::new(real, [padding.len(), self.n]), device)
    }

    fn column(&self, key: usize) -> usize {
        self.start + (key + self.n - self.rotation) % self.n
    }
}

#[cfg(test)]
mod tests {
    use super::Keys;

    #[test]
    fn a_ring_holds_the_last_columns() {
        for column in 0..23 {
            let keys = Keys::in_ring(column, 5);
            for key in 0..5 {
                let of_key = keys.column(key);
                assert_eq!(of_key % 5, key, "column {of_key} in slot {key}");
                let seen = of_key <= column;
                assert_eq!(seen, key <= keys.first_query, "column {of_key} of {column}");
                assert!(of_key + 5 > column, "column {of_key} of {column}");
            }
        }
    }
}
