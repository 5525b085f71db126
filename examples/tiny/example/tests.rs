use std::collections::HashSet;

use super::super::problem::NAMES;
use super::{Example, Family, Kind, Language, Phrases, Problem, Split};
use super::{pretrain_examples, sft_examples};

/// Every example of both splits and of the pretraining.
fn many() -> Vec<Example> {
    let mut examples = sft_examples(Split::Train, 4000, 1);
    examples.extend(sft_examples(Split::HeldOut, 2000, 2));
    examples.extend(pretrain_examples(4000, 3));
    examples
}

fn numbers(text: &str) -> Vec<usize> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[test]
fn a_seed_decides_everything() {
    assert_eq!(
        sft_examples(Split::Train, 300, 7),
        sft_examples(Split::Train, 300, 7)
    );
    assert_ne!(
        sft_examples(Split::Train, 300, 7),
        sft_examples(Split::Train, 300, 8)
    );
    assert_eq!(pretrain_examples(300, 7), pretrain_examples(300, 7));
    assert_ne!(pretrain_examples(300, 7), pretrain_examples(300, 8));
}

#[test]
fn the_splits_share_no_question() {
    let mut training = sft_examples(Split::Train, 10_000, 1);
    training.extend(pretrain_examples(10_000, 2));
    let known: HashSet<Problem> = training.iter().map(|e| e.problem).collect();
    let asked: HashSet<&str> = training.iter().map(|e| e.user.as_str()).collect();
    for example in sft_examples(Split::HeldOut, 5000, 3) {
        assert!(!known.contains(&example.problem), "{example:?}");
        assert!(!asked.contains(example.user.as_str()), "{example:?}");
    }
}

#[test]
fn every_combination_comes_once_before_any_comes_again() {
    let examples = sft_examples(Split::HeldOut, 175, 4);
    let combinations: HashSet<(Family, Language, Language)> = examples
        .iter()
        .map(|e| (e.problem.family(), e.reasoning_language, e.user_language))
        .collect();
    assert_eq!(combinations.len(), 175);
}

#[test]
fn examples_are_distinct() {
    let examples = sft_examples(Split::Train, 10_000, 5);
    let different: HashSet<(&str, Language)> = examples
        .iter()
        .map(|e| (e.user.as_str(), e.reasoning_language))
        .collect();
    assert_eq!(examples.len(), 10_000);
    assert_eq!(different.len(), examples.len());
}

#[test]
fn every_reply_holds_its_answer() {
    for example in many() {
        assert!(example.is_answered_by(&example.answer_text), "{example:?}");
        assert!(example.answer_text.contains(&example.answer), "{example:?}");
        let longer_word = format!("1{}", example.answer);
        assert!(!example.is_answered_by(&longer_word), "{example:?}");
    }
}

/// Reads the numbers out of the question, not out of the parameters.
#[test]
fn the_arithmetic_is_right() {
    for example in many().iter().filter(|e| e.kind == Kind::Question) {
        let given = numbers(&example.user);
        let expected = match example.problem.family() {
            Family::Add => given[0] + given[1],
            Family::Subtract => given[0] - given[1],
            Family::TwoStep => given[0] + given[1] - given[2],
            Family::Extreme => {
                let phrases = Phrases::of(example.user_language);
                let smallest = example.user.contains(phrases.extreme[1]);
                let chosen = if smallest {
                    given.iter().min()
                } else {
                    given.iter().max()
                };
                *chosen.expect("three numbers")
            }
            _ => continue,
        };
        assert_eq!(example.answer, expected.to_string(), "{example:?}");
        assert_eq!(
            numbers(&example.analysis).last(),
            Some(&expected),
            "{example:?}"
        );
        assert!(expected >= 2, "{example:?}");
    }
}

#[test]
fn comparisons_name_the_right_person() {
    for example in many().iter().filter(|e| e.kind == Kind::Question) {
        let Problem::Compare { names, fewer, .. } = example.problem else {
            continue;
        };
        let given = numbers(&example.user);
        let first_has_more = given[0] > given[1];
        let position = if first_has_more == fewer { 1 } else { 0 };
        assert_eq!(example.answer, NAMES[names[position]], "{example:?}");
    }
}

#[test]
fn words_are_looked_up_in_the_right_place() {
    let english = |problem| Phrases::of(Language::English).word(&problem, 0).answer;
    assert_eq!(
        english(Problem::Weekday {
            name: 0,
            verb: 0,
            today: 5,
            offset: 3
        }),
        "Tuesday"
    );
    assert_eq!(
        english(Problem::Opposite {
            names: [0, 1],
            noun: 0,
            adjective: 1
        }),
        "old"
    );
    let category = Problem::Category {
        kinds: [2, 0, 1],
        words: [0, 1, 2],
        asked: 1,
    };
    assert_eq!(english(category), "cat");
    let extreme = Problem::Extreme {
        numbers: [3, 9, 8],
        smallest: false,
    };
    let spanish = Phrases::of(Language::Spanish).word(&extreme, 0);
    assert_eq!(spanish.question, "¿Qué número es el mayor: 3, 9 u 8?");
}

#[test]
fn templates_are_filled_completely_and_texts_are_short() {
    for example in many() {
        let [_, user, analysis, reply] = example.texts();
        for text in [&user, &analysis, &reply] {
            assert!(!text.contains(['{', '}']) && !text.contains("  "), "{text}");
        }
        assert!(analysis.split_whitespace().count() <= 21, "{analysis}");
        if example.kind == Kind::Question {
            assert!(user.split_whitespace().count() <= 22, "{user}");
            assert!(reply.split_whitespace().count() <= 10, "{reply}");
        }
    }
}

#[test]
fn the_base_model_thinks_in_english_whatever_is_asked() {
    let examples = pretrain_examples(1000, 6);
    let questions = examples.iter().filter(|e| e.kind == Kind::Question).count();
    assert_eq!(questions, 600);
    for example in &examples {
        assert_eq!(example.analysis_language, Language::English);
        assert_eq!(example.problem.split(), Split::Train);
        if example.kind == Kind::Question {
            let english = Phrases::of(Language::English).word(&example.problem, 0);
            assert_eq!(example.analysis, english.thinking);
            assert_eq!(example.answer_language, example.user_language);
        }
    }
}

/// The words that give a language away; none of them occurs in another language's reasoning.
#[test]
fn every_reasoning_shows_its_language() {
    const MARKERS: [&[&str]; 5] = [
        &["so", "the", "answer", "is"],
        &["donc", "réponse", "est"],
        &["also", "ist", "die", "Antwort"],
        &["así", "respuesta", "es"],
        &["quindi", "risposta", "è"],
    ];
    for example in many().iter().filter(|e| e.kind == Kind::Question) {
        let words: HashSet<&str> = example
            .analysis
            .split(|c: char| !c.is_alphanumeric())
            .collect();
        for language in Language::ALL {
            let found = MARKERS[language.index()]
                .iter()
                .filter(|word| words.contains(*word));
            let expected = language == example.analysis_language;
            let all = MARKERS[language.index()].len();
            assert_eq!(found.count(), if expected { all } else { 0 }, "{example:?}");
        }
    }
}
