//! What kinds of questions there are, and which of them are for training.

/// Training questions and held-out ones share no question in any language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Four fifths of all questions.
    Train,
    /// The remaining fifth, for evaluation.
    HeldOut,
}

/// A kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `a + b` things.
    Add,
    /// `a - b` things.
    Subtract,
    /// `a + b - c` things.
    TwoStep,
    /// Which of two people has more, or fewer.
    Compare,
    /// The largest or smallest of three numbers.
    Extreme,
    /// The weekday some days from today.
    Weekday,
    /// The opposite of an adjective.
    Opposite,
    /// The one word of three that is of a given kind.
    Category,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 8] = [
        Self::Add,
        Self::Subtract,
        Self::TwoStep,
        Self::Compare,
        Self::Extreme,
        Self::Weekday,
        Self::Opposite,
        Self::Category,
    ];

    /// Those that the base model answers in English, and is tuned to reason about in other languages. Of two people it
    /// does not learn which number belongs to whom, so comparisons would measure that instead.
    pub const TUNED: [Self; 7] = [
        Self::Add,
        Self::Subtract,
        Self::TwoStep,
        Self::Extreme,
        Self::Weekday,
        Self::Opposite,
        Self::Category,
    ];
}
