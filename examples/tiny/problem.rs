//! The questions without any language: their parameters and their split.

use super::family::{Family, Split};
use super::rng::Rng;

/// People that appear in the questions. The names are the same in every language and start with
/// a consonant, so that French needs no elision ("de Tom", never "d'Anna").
pub const NAMES: [&str; 10] = [
    "Tom", "Lisa", "Paul", "Maria", "David", "Clara", "Bruno", "Nina", "Felix", "Julia",
];

/// Things that people have; like the following, how many every language has a word for.
pub const OBJECTS: usize = 6;
/// Things that an adjective is said of.
pub const NOUNS: usize = 5;
/// Adjectives; the opposite of number `i` is number `i ^ 1`.
pub const ADJECTIVES: usize = 10;
/// Verbs of the weekday questions.
pub const VERBS: usize = 4;
/// Kinds of words (animals, colours, fruits).
pub const CATEGORIES: usize = 3;
/// Words of each kind.
pub const WORDS: usize = 4;

/// One question with its parameters; words are indices into the tables of a language.
///
/// Counts and results are never below 2, so that every noun stands in the plural.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    /// Somebody has `a` objects and gets `b` more.
    Add {
        name: usize,
        object: usize,
        a: usize,
        b: usize,
    },
    /// Somebody has `a` objects and loses `b`.
    Subtract {
        name: usize,
        object: usize,
        a: usize,
        b: usize,
    },
    /// Somebody has `a` objects, gets `b` more and loses `c`.
    TwoStep {
        name: usize,
        object: usize,
        a: usize,
        b: usize,
        c: usize,
    },
    /// Two people have different counts of an object.
    Compare {
        names: [usize; 2],
        object: usize,
        counts: [usize; 2],
        fewer: bool,
    },
    /// Three different numbers.
    Extreme { numbers: [usize; 3], smallest: bool },
    /// Somebody does something `offset` days from `today` (0 is Monday).
    Weekday {
        name: usize,
        verb: usize,
        today: usize,
        offset: usize,
    },
    /// The first person calls the noun something, the second the opposite.
    Opposite {
        names: [usize; 2],
        noun: usize,
        adjective: usize,
    },
    /// One word of each kind, in the order of `kinds`; asked for is the kind at `asked`.
    Category {
        kinds: [usize; 3],
        words: [usize; 3],
        asked: usize,
    },
}

impl Problem {
    /// Draws a question of a family that belongs to a split.
    pub fn draw(family: Family, split: Split, rng: &mut Rng) -> Self {
        loop {
            let problem = Self::draw_any(family, rng);
            if problem.split() == split {
                return problem;
            }
        }
    }

    fn draw_any(family: Family, rng: &mut Rng) -> Self {
        let name = rng.below(NAMES.len());
        let object = rng.below(OBJECTS);
        let (a, b) = (rng.between(2, 9), rng.between(2, 9));
        match family {
            Family::Add => Self::Add { name, object, a, b },
            // Drawn from the result, so that every difference is as frequent as any other.
            Family::Subtract => Self::Subtract {
                name,
                object,
                a: a + b,
                b,
            },
            Family::TwoStep => {
                let c = rng.between(2, (a + b - 2).min(9));
                Self::TwoStep {
                    name,
                    object,
                    a,
                    b,
                    c,
                }
            }
            Family::Compare => Self::Compare {
                names: rng.distinct(0, NAMES.len() - 1),
                object,
                counts: rng.distinct(2, 20),
                fewer: rng.coin(),
            },
            Family::Extreme => Self::Extreme {
                numbers: rng.distinct(2, 20),
                smallest: rng.coin(),
            },
            Family::Weekday => Self::Weekday {
                name,
                verb: rng.below(VERBS),
                today: rng.below(7),
                offset: rng.between(2, 4),
            },
            Family::Opposite => Self::Opposite {
                names: rng.distinct(0, NAMES.len() - 1),
                noun: rng.below(NOUNS),
                adjective: rng.below(ADJECTIVES),
            },
            Family::Category => Self::Category {
                kinds: rng.distinct(0, CATEGORIES - 1),
                words: [rng.below(WORDS), rng.below(WORDS), rng.below(WORDS)],
                asked: rng.below(3),
            },
        }
    }

    /// The kind of this question.
    pub fn family(&self) -> Family {
        match self {
            Self::Add { .. } => Family::Add,
            Self::Subtract { .. } => Family::Subtract,
            Self::TwoStep { .. } => Family::TwoStep,
            Self::Compare { .. } => Family::Compare,
            Self::Extreme { .. } => Family::Extreme,
            Self::Weekday { .. } => Family::Weekday,
            Self::Opposite { .. } => Family::Opposite,
            Self::Category { .. } => Family::Category,
        }
    }

    /// The split this question belongs to: decided by family and parameters, never by language or
    /// wording, so that a held-out question is unseen in every language.
    pub fn split(&self) -> Split {
        let mut hash = 0;
        for parameter in self.parameters() {
            // One generator step per parameter mixes the bits well enough for a fair fifth.
            hash = Rng::new(hash ^ parameter as u64).next_u64();
        }
        if hash.is_multiple_of(5) {
            Split::HeldOut
        } else {
            Split::Train
        }
    }

    fn parameters(&self) -> Vec<usize> {
        let mut list = vec![self.family() as usize];
        match *self {
            Self::Add { name, object, a, b } | Self::Subtract { name, object, a, b } => {
                list.extend([name, object, a, b]);
            }
            Self::TwoStep {
                name,
                object,
                a,
                b,
                c,
            } => list.extend([name, object, a, b, c]),
            Self::Compare {
                names,
                object,
                counts,
                fewer,
            } => {
                list.extend(names);
                list.extend(counts);
                list.extend([object, usize::from(fewer)]);
            }
            Self::Extreme { numbers, smallest } => {
                list.extend(numbers);
                list.push(usize::from(smallest));
            }
            Self::Weekday {
                name,
                verb,
                today,
                offset,
            } => {
                list.extend([name, verb, today, offset]);
            }
            Self::Opposite {
                names,
                noun,
                adjective,
            } => {
                list.extend(names);
                list.extend([noun, adjective]);
            }
            Self::Category {
                kinds,
                words,
                asked,
            } => {
                list.extend(kinds);
                list.extend(words);
                list.push(asked);
            }
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::{Family, Problem, Split};
    use std::collections::HashSet;

    #[test]
    fn a_fifth_of_every_family_is_held_out() {
        for family in Family::ALL {
            let mut rng = Rng::new(5);
            let drawn: HashSet<Problem> = (0..20_000)
                .map(|_| Problem::draw_any(family, &mut rng))
                .collect();
            let held_out = drawn.iter().filter(|p| p.split() == Split::HeldOut).count();
            let share = held_out as f64 / drawn.len() as f64;
            assert!(
                drawn.len() > 800,
                "{family:?} has {} questions",
                drawn.len()
            );
            assert!(
                (0.14..0.26).contains(&share),
                "{family:?} holds out {share}"
            );
        }
    }
}
