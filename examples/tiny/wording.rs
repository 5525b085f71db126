//! Fills the templates of a language with the parameters of a problem.

use super::family::Family;
use super::language::Language;
use super::phrases::{Phrases, Template};
use super::problem::{NAMES, Problem};

/// The texts that a language gives a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wording {
    /// What the user asks.
    pub question: String,
    /// The reasoning that leads to the answer.
    pub thinking: String,
    /// What the assistant replies.
    pub reply: String,
    /// The bare answer, a single word of the reply.
    pub answer: String,
}

/// Names of fields with their values.
type Fields = Vec<(&'static str, String)>;

impl Phrases {
    /// Words a problem; `variant` (0 or 1) picks one of two verbs where the family has two.
    pub fn word(&self, problem: &Problem, variant: usize) -> Wording {
        let template = self.template(problem.family());
        let answer = self.answer(problem);
        let mut fields = self.fields(problem, variant);
        fields.push(("answer", answer.clone()));
        Wording {
            question: fill(template.question, &fields),
            thinking: fill(template.thinking, &fields),
            reply: fill(template.reply, &fields),
            answer,
        }
    }

    /// Asks for a translation.
    pub fn request_translation(&self, target: Language, text: &str) -> String {
        let language = self.languages[target.index()].to_owned();
        fill(
            self.translate,
            &[("language", language), ("text", text.to_owned())],
        )
    }

    fn template(&self, family: Family) -> &Template {
        match family {
            Family::Add => &self.add,
            Family::Subtract => &self.subtract,
            Family::TwoStep => &self.two_step,
            Family::Compare => &self.compare,
            Family::Extreme => &self.largest,
            Family::Weekday => &self.weekday,
            Family::Opposite => &self.opposite,
            Family::Category => &self.category,
        }
    }

    fn answer(&self, problem: &Problem) -> String {
        match *problem {
            Problem::Add { a, b, .. } => (a + b).to_string(),
            Problem::Subtract { a, b, .. } => (a - b).to_string(),
            Problem::TwoStep { a, b, c, .. } => (a + b - c).to_string(),
            Problem::Compare {
                names,
                counts,
                fewer,
                ..
            } => {
                let second = (counts[1] > counts[0]) != fewer;
                NAMES[names[usize::from(second)]].to_owned()
            }
            Problem::Extreme { numbers, smallest } => ranked(numbers, smallest)[0].to_string(),
            Problem::Weekday { today, offset, .. } => self.days[(today + offset) % 7].to_owned(),
            Problem::Opposite { adjective, .. } => self.adjectives[adjective ^ 1].to_owned(),
            Problem::Category {
                kinds,
                words,
                asked,
            } => self.words[kinds[asked]][words[asked]].to_owned(),
        }
    }

    fn fields(&self, problem: &Problem, variant: usize) -> Fields {
        let mut fields = vec![
            ("gain", self.gain[variant].to_owned()),
            ("loss", self.loss[variant].to_owned()),
        ];
        match *problem {
            Problem::Add { name, object, a, b } | Problem::Subtract { name, object, a, b } => {
                fields.extend(self.owner(name, object));
                fields.extend(numbers(&[("a", a), ("b", b)]));
            }
            Problem::TwoStep {
                name,
                object,
                a,
                b,
                c,
            } => {
                fields.extend(self.owner(name, object));
                fields.extend(numbers(&[("a", a), ("b", b), ("c", c), ("sum", a + b)]));
            }
            Problem::Compare {
                names,
                object,
                counts,
                fewer,
            } => {
                fields.extend(people(names));
                let (x, y) = if (counts[0] > counts[1]) == fewer {
                    (1, 0)
                } else {
                    (0, 1)
                };
                fields.extend(numbers(&[("a", counts[0]), ("b", counts[1])]));
                fields.extend(numbers(&[("x", counts[x]), ("y", counts[y])]));
                fields.push(("object", self.objects[object].to_owned()));
                fields.push(("quantity", self.quantity[usize::from(fewer)].to_owned()));
                fields.push(("relation", self.relation[usize::from(fewer)].to_owned()));
            }
            Problem::Extreme {
                numbers: given,
                smallest,
            } => {
                let [x, y, z] = ranked(given, smallest);
                fields.extend(numbers(&[
                    ("a", given[0]),
                    ("b", given[1]),
                    ("c", given[2]),
                ]));
                fields.extend(numbers(&[("x", x), ("y", y), ("z", z)]));
                // Spanish says "7 u 8", since the 8 is read "ocho"; likewise "once".
                let sounds_like_o = matches!(given[2], 8 | 11);
                fields.push(("or", self.or[usize::from(sounds_like_o)].to_owned()));
                fields.push(("extreme", self.extreme[usize::from(smallest)].to_owned()));
                fields.push(("relation", self.relation[usize::from(smallest)].to_owned()));
            }
            Problem::Weekday {
                name,
                verb,
                today,
                offset,
            } => {
                fields.push(("name", NAMES[name].to_owned()));
                fields.push(("verb", self.verbs[verb].0.to_owned()));
                fields.push(("asked verb", self.verbs[verb].1.to_owned()));
                fields.push(("today", self.days[today].to_owned()));
                fields.push(("offset", offset.to_string()));
                fields.push(("days", self.days_after(today, offset)));
            }
            Problem::Opposite {
                names,
                noun,
                adjective,
            } => {
                fields.extend(people(names));
                fields.push(("noun", self.nouns[noun].to_owned()));
                fields.push(("adjective", self.adjectives[adjective].to_owned()));
            }
            Problem::Category {
                kinds,
                words,
                asked,
            } => {
                let word = |at: usize| self.words[kinds[at]][words[at]].to_owned();
                let kind = |at: usize| self.categories[kinds[at]].to_owned();
                fields.extend([("a", word(0)), ("b", word(1)), ("c", word(2))]);
                fields.extend([
                    ("kind a", kind(0)),
                    ("kind b", kind(1)),
                    ("kind c", kind(2)),
                ]);
                fields.push(("kind", kind(asked)));
            }
        }
        fields
    }

    fn owner(&self, name: usize, object: usize) -> Fields {
        vec![
            ("name", NAMES[name].to_owned()),
            ("object", self.objects[object].to_owned()),
        ]
    }

    /// The days between today and the day asked for, that day included: "a, b and c".
    fn days_after(&self, today: usize, offset: usize) -> String {
        let name = |day: usize| format!("{}{}", self.day_article, self.days[(today + day) % 7]);
        let first: Vec<String> = (1..offset).map(name).collect();
        format!("{} {} {}", first.join(", "), self.and, name(offset))
    }
}

fn people(names: [usize; 2]) -> Fields {
    vec![
        ("first", NAMES[names[0]].to_owned()),
        ("second", NAMES[names[1]].to_owned()),
    ]
}

fn numbers(values: &[(&'static str, usize)]) -> Fields {
    values
        .iter()
        .map(|&(field, value)| (field, value.to_string()))
        .collect()
}

/// The numbers from the one asked for to its other extreme.
fn ranked(mut numbers: [usize; 3], smallest: bool) -> [usize; 3] {
    numbers.sort_unstable();
    if !smallest {
        numbers.reverse();
    }
    numbers
}

fn fill(template: &str, fields: &[(&'static str, String)]) -> String {
    fields
        .iter()
        .fold(template.to_owned(), |text, (field, value)| {
            text.replace(&format!("{{{field}}}"), value)
        })
}
