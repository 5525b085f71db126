//! English words and templates.

use super::{Phrases, Template};

/// English.
pub const PHRASES: Phrases = Phrases {
    languages: ["English", "French", "German", "Spanish", "Italian"],
    translate: "Translate to {language}: {text}",
    objects: ["apples", "pears", "roses", "coins", "cards", "keys"],
    nouns: [
        "the book",
        "the coat",
        "the train",
        "the garden",
        "the bridge",
    ],
    adjectives: [
        "old",
        "new",
        "big",
        "small",
        "beautiful",
        "ugly",
        "light",
        "dark",
        "long",
        "short",
    ],
    days: [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ],
    day_article: "",
    verbs: [
        ("travels", "travel"),
        ("comes", "come"),
        ("plays", "play"),
        ("works", "work"),
    ],
    categories: ["an animal", "a colour", "a fruit"],
    words: [
        ["dog", "cat", "horse", "cow"],
        ["red", "blue", "green", "white"],
        ["apple", "pear", "lemon", "cherry"],
    ],
    gain: ["gets", "buys"],
    loss: ["loses", "gives away"],
    quantity: ["more", "fewer"],
    extreme: ["largest", "smallest"],
    relation: ["greater than", "less than"],
    and: "and",
    or: ["or", "or"],
    add: Template {
        question: "{name} has {a} {object} and {gain} {b} more. \
            How many {object} does {name} have now?",
        thinking: "There are {a} {object} and {b} more. \
            {a} and {b} make {answer}, so the answer is {answer}.",
        reply: "{name} now has {answer} {object}.",
    },
    subtract: Template {
        question: "{name} has {a} {object} and {loss} {b}. \
            How many {object} does {name} have left?",
        thinking: "There are {a} {object}, but {b} of them are gone. \
            {a} minus {b} is {answer}, so the answer is {answer}.",
        reply: "{name} still has {answer} {object}.",
    },
    two_step: Template {
        question: "{name} has {a} {object}, {gain} {b} more and then {loss} {c}. \
            How many {object} does {name} have now?",
        thinking: "First, {a} and {b} make {sum}. \
            Then {sum} minus {c} is {answer}, so the answer is {answer}.",
        reply: "{name} now has {answer} {object}.",
    },
    compare: Template {
        question: "{first} has {a} {object} and {second} has {b}. Who has {quantity} {object}?",
        thinking: "{first} has {a} {object} and {second} has {b}. \
            {x} is {relation} {y}, so the answer is {answer}.",
        reply: "{answer} has {quantity} {object}.",
    },
    largest: Template {
        question: "Which number is the {extreme}: {a}, {b} {or} {c}?",
        thinking: "{x} is {relation} {y} and {y} is {relation} {z}, so the answer is {answer}.",
        reply: "The {extreme} number is {answer}.",
    },
    weekday: Template {
        question: "Today is {today}. {name} {verb} in {offset} days. \
            On which day does {name} {asked verb}?",
        thinking: "Today is {today}. After that come {days}, so the answer is {answer}.",
        reply: "{name} {verb} on {answer}.",
    },
    opposite: Template {
        question: "{first} says that {noun} is {adjective}. {second} says the opposite. \
            What is {noun} like according to {second}?",
        thinking: "{first} says that {noun} is {adjective}. \
            The opposite of {adjective} is {answer}, so the answer is {answer}.",
        reply: "According to {second}, {noun} is {answer}.",
    },
    category: Template {
        question: "Which word is {kind}: {a}, {b} or {c}?",
        thinking: "The word {a} is {kind a}, {b} is {kind b} and {c} is {kind c}, so the answer \
            is {answer}.",
        reply: "The right word is {answer}.",
    },
};
