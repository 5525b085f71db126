//! The five languages of the exercise.

use std::fmt;

/// A language that a question, a train of thought or an answer is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    /// English: the language the base model always thinks in.
    English,
    /// French.
    French,
    /// German.
    German,
    /// Spanish.
    Spanish,
    /// Italian.
    Italian,
}

impl Language {
    /// All languages, in the order of their indices.
    pub const ALL: [Self; 5] = [
        Self::English,
        Self::French,
        Self::German,
        Self::Spanish,
        Self::Italian,
    ];

    /// The English name, as the system message spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::French => "French",
            Self::German => "German",
            Self::Spanish => "Spanish",
            Self::Italian => "Italian",
        }
    }

    /// Position in [`Language::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Language {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
