use std::collections::HashSet;
use std::hash::Hash;

use rand::seq::SliceRandom;
use rand::{SeedableRng, rngs::StdRng};

/// Numbers of the conversations to train on and of those to validate with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// To train on, in random order.
    pub train: Vec<usize>,
    /// Held out, in random order.
    pub valid: Vec<usize>,
}

impl Split {
    /// Holds a share of `n` conversations out, rounded up; the seed decides which.
    pub fn random(n: usize, fraction: f64, seed: u64) -> Self {
        let mut valid: Vec<usize> = (0..n).collect();
        valid.shuffle(&mut StdRng::seed_from_u64(seed));
        let n_valid = (n as f64 * fraction).ceil() as usize;
        let train = valid.split_off(n_valid.min(n));
        Self { train, valid }
    }

    /// Takes out of the training part what is held out, too, and returns it: a model that was trained on it would
    /// be measured with what it knows by heart. `content` is the same for conversations that are alike, as their
    /// tokens or a hash of them.
    pub fn remove_overlap<K: Hash + Eq>(&mut self, content: impl Fn(usize) -> K) -> Vec<usize> {
        let held_out: HashSet<K> = self.valid.iter().map(|index| content(*index)).collect();
        let (both, train) = std::mem::take(&mut self.train)
            .into_iter()
            .partition(|index| held_out.contains(&content(*index)));
        self.train = train;
        both
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_all_and_share_nothing() {
        let split = Split::random(11, 0.1, 42);
        assert_eq!((split.train.len(), split.valid.len()), (9, 2));
        let mut all = [split.train.clone(), split.valid.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..11).collect::<Vec<_>>());
        assert_eq!(split, Split::random(11, 0.1, 42));
        assert_ne!(split, Split::random(11, 0.1, 43));
    }

    #[test]
    fn copies_of_what_is_held_out_are_not_trained() {
        let examples = [1, 2, 1, 3];
        let mut split = Split {
            train: vec![1, 2, 3],
            valid: vec![0],
        };
        assert_eq!(split.remove_overlap(|index| examples[index]), [2]);
        assert_eq!(split.train, [1, 3]);
    }
}
