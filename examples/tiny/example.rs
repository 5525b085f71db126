//! Conversations made of the problems: what the base model learns and what it is tuned on.

use std::collections::HashSet;

use super::family::{Family, Split};
use super::language::Language;
use super::phrases::Phrases;
use super::problem::Problem;
use super::rng::Rng;
use super::wording::Wording;

/// What the system message says after it has named the reasoning language.
pub const INSTRUCTION: &str = "You are a helpful assistant.";

/// Draws for one example before it is given up, when a family has no new questions left.
const ATTEMPTS: usize = 1000;

/// What an example asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An answer to a question.
    Question,
    /// The translation of a reasoning; only the base model sees these.
    Translation,
}

/// One conversation: a question, the reasoning and the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Question or translation.
    pub kind: Kind,
    /// The problem that everything else is worded from.
    pub problem: Problem,
    /// The language that the system message asks to reason in.
    pub reasoning_language: Language,
    /// The language that `analysis` is written in: English in all pretraining examples.
    pub analysis_language: Language,
    /// The language that the user writes in.
    pub user_language: Language,
    /// The language of `answer_text`: the user's own, except in translations.
    pub answer_language: Language,
    /// What the user writes.
    pub user: String,
    /// The reasoning.
    pub analysis: String,
    /// What the assistant replies.
    pub answer_text: String,
    /// The single word of `answer_text` that makes the reply right.
    pub answer: String,
}

impl Example {
    /// The system message: the reasoning language, then the instruction.
    pub fn system(&self) -> String {
        format!(
            "reasoning language: {}\n\n{INSTRUCTION}",
            self.reasoning_language
        )
    }

    /// Every text of the conversation, for instance to train a tokenizer on.
    pub fn texts(&self) -> [String; 4] {
        [
            self.system(),
            self.user.clone(),
            self.analysis.clone(),
            self.answer_text.clone(),
        ]
    }

    /// Whether a reply holds the answer as a whole word ("7" is not in "17 pommes"), in either
    /// case.
    pub fn is_answered_by(&self, reply: &str) -> bool {
        let answer = self.answer.to_lowercase();
        reply
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| word.to_lowercase() == answer)
    }

    fn question(problem: Problem, asked: Language, user: Language, variant: usize) -> Self {
        let Wording {
            question,
            thinking: _,
            reply,
            answer,
        } = Phrases::of(user).word(&problem, variant);
        Self {
            kind: Kind::Question,
            problem,
            reasoning_language: asked,
            analysis_language: asked,
            user_language: user,
            answer_language: user,
            user: question,
            analysis: Phrases::of(asked).word(&problem, variant).thinking,
            answer_text: reply,
            answer,
        }
    }

    /// The same example as the base model has it, which never minds the language asked for.
    fn with_english_analysis(mut self) -> Self {
        self.analysis = Phrases::of(Language::English)
            .word(&self.problem, 0)
            .thinking;
        self.analysis_language = Language::English;
        self
    }
}

/// Examples to tune on or to evaluate with: the reasoning is in the language asked for.
///
/// Families, reasoning languages and user languages are balanced: the first 175 examples (before
/// shuffling) hold every combination once. No two examples share both question and reasoning
/// language. The list is shorter than `n` only if a family runs out of new questions.
pub fn sft_examples(split: Split, n: usize, seed: u64) -> Vec<Example> {
    let mut rng = Rng::new(seed);
    let mut seen = HashSet::new();
    let mut examples = Vec::with_capacity(n);
    for index in 0..n {
        let (family, asked, user) = combination(&Family::TUNED, index);
        let new = (0..ATTEMPTS).find_map(|_| {
            let problem = Problem::draw(family, split, &mut rng);
            let example = Example::question(problem, asked, user, rng.below(2));
            seen.insert((example.user.clone(), asked))
                .then_some(example)
        });
        examples.extend(new);
    }
    rng.shuffle(&mut examples);
    examples
}

/// Examples for the base model, from the training split: three fifths are questions that are
/// reasoned about in English whatever language is asked for, two fifths are translations between
/// all pairs of languages, from which the model learns to write every one of them.
pub fn pretrain_examples(n: usize, seed: u64) -> Vec<Example> {
    let mut rng = Rng::new(seed);
    let mut examples: Vec<Example> = (0..n)
        .map(|index| match index % 5 {
            place @ 0..3 => base_question(index / 5 * 3 + place, &mut rng),
            place => translation(index / 5 * 2 + place - 3, &mut rng),
        })
        .collect();
    rng.shuffle(&mut examples);
    examples
}

/// Family, reasoning language and user language number `index` of a cycle of all combinations. The user
/// language moves along with the others, so that short lists hold all languages as well.
fn combination(families: &[Family], index: usize) -> (Family, Language, Language) {
    let family = index % families.len();
    let asked = index / families.len();
    let user = family + asked + asked / Language::ALL.len();
    (families[family], language(asked), language(user))
}

fn language(index: usize) -> Language {
    Language::ALL[index % Language::ALL.len()]
}

fn base_question(index: usize, rng: &mut Rng) -> Example {
    let (family, asked, user) = combination(&Family::ALL, index);
    let problem = Problem::draw(family, Split::Train, rng);
    Example::question(problem, asked, user, rng.below(2)).with_english_analysis()
}

fn translation(index: usize, rng: &mut Rng) -> Example {
    let family = Family::ALL[index % Family::ALL.len()];
    // The family shifts the pair, so that short lists hold many pairs as well.
    let pair = (index / Family::ALL.len() + 7 * index) % 20;
    let (source, target) = (language(pair / 4), language(pair / 4 + 1 + pair % 4));
    // Users ask in the language they translate from, or in English.
    let user = if rng.coin() {
        source
    } else {
        Language::English
    };
    let problem = Problem::draw(family, Split::Train, rng);
    let source_text = Phrases::of(source).word(&problem, 0).thinking;
    let translated = Phrases::of(target).word(&problem, 0);
    Example {
        kind: Kind::Translation,
        problem,
        reasoning_language: language(rng.below(Language::ALL.len())),
        analysis_language: Language::English,
        user_language: user,
        answer_language: target,
        user: Phrases::of(user).request_translation(target, &source_text),
        analysis: format!("The text must be put into {target}."),
        answer_text: translated.thinking,
        answer: translated.answer,
    }
}

#[cfg(test)]
mod tests;
