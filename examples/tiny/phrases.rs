//! How the languages word the problems: their tables of words and templates.

mod english;
mod french;
mod german;
mod italian;
mod spanish;

use super::language::Language;
use super::problem::{ADJECTIVES, CATEGORIES, NOUNS, OBJECTS, VERBS, WORDS};

/// The wording of one family; `{field}` stands for a field of the problem.
pub struct Template {
    /// What the user asks.
    pub question: &'static str,
    /// The reasoning that leads to the answer.
    pub thinking: &'static str,
    /// What the assistant replies.
    pub reply: &'static str,
}

/// Everything a language contributes. Pairs hold the positive word first (more, largest).
pub struct Phrases {
    /// The languages as they are called after the "to" of `translate`.
    pub languages: [&'static str; 5],
    /// The request for a translation, with `{language}` and `{text}`.
    pub translate: &'static str,
    /// Plural nouns, feminine in the Romance languages.
    pub objects: [&'static str; OBJECTS],
    /// Singular nouns with their article, masculine in the Romance languages.
    pub nouns: [&'static str; NOUNS],
    /// Adjectives in the form that follows "is"; opposites are neighbours.
    pub adjectives: [&'static str; ADJECTIVES],
    /// The days from Monday on.
    pub days: [&'static str; 7],
    /// What stands before a day in a list: an article or nothing.
    pub day_article: &'static str,
    /// Verbs in the third person and in the form that a question takes.
    pub verbs: [(&'static str, &'static str); VERBS],
    /// The kinds of words, with their article.
    pub categories: [&'static str; CATEGORIES],
    /// The words of every kind.
    pub words: [[&'static str; WORDS]; CATEGORIES],
    /// Two ways to say that somebody gets things.
    pub gain: [&'static str; 2],
    /// Two ways to say that somebody loses things.
    pub loss: [&'static str; 2],
    /// More, fewer.
    pub quantity: [&'static str; 2],
    /// Largest, smallest.
    pub extreme: [&'static str; 2],
    /// Greater than, less than.
    pub relation: [&'static str; 2],
    /// And.
    pub and: &'static str,
    /// Or; the second form stands before a number that begins with the sound "o".
    pub or: [&'static str; 2],
    /// `a + b`.
    pub add: Template,
    /// `a - b`.
    pub subtract: Template,
    /// `a + b - c`.
    pub two_step: Template,
    /// Who has more.
    pub compare: Template,
    /// The largest number.
    pub largest: Template,
    /// The weekday.
    pub weekday: Template,
    /// The opposite.
    pub opposite: Template,
    /// The word of a kind.
    pub category: Template,
}

impl Phrases {
    /// The phrases of a language.
    pub fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &english::PHRASES,
            Language::French => &french::PHRASES,
            Language::German => &german::PHRASES,
            Language::Spanish => &spanish::PHRASES,
            Language::Italian => &italian::PHRASES,
        }
    }

    /// English about other things, and with other ways to get and to lose them.
    pub fn english_about(
        objects: [&'static str; OBJECTS],
        gain: [&'static str; 2],
        loss: [&'static str; 2],
    ) -> Self {
        Self {
            objects,
            gain,
            loss,
            ..english::PHRASES
        }
    }
}
