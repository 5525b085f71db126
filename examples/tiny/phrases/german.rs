//! German words and templates.

use super::{Phrases, Template};

/// German. The objects only stand where nominative and accusative are the same.
pub const PHRASES: Phrases = Phrases {
    languages: [
        "Englisch",
        "Französisch",
        "Deutsch",
        "Spanisch",
        "Italienisch",
    ],
    translate: "Übersetze auf {language}: {text}",
    objects: ["Äpfel", "Birnen", "Rosen", "Münzen", "Karten", "Schlüssel"],
    nouns: [
        "das Buch",
        "der Mantel",
        "der Zug",
        "der Garten",
        "die Brücke",
    ],
    adjectives: [
        "alt",
        "neu",
        "groß",
        "klein",
        "schön",
        "hässlich",
        "hell",
        "dunkel",
        "lang",
        "kurz",
    ],
    days: [
        "Montag",
        "Dienstag",
        "Mittwoch",
        "Donnerstag",
        "Freitag",
        "Samstag",
        "Sonntag",
    ],
    day_article: "",
    verbs: [
        ("reist", "reist"),
        ("kommt", "kommt"),
        ("spielt", "spielt"),
        ("arbeitet", "arbeitet"),
    ],
    categories: ["ein Tier", "eine Farbe", "eine Frucht"],
    words: [
        ["Hund", "Katze", "Pferd", "Kuh"],
        ["rot", "blau", "grün", "weiß"],
        ["Apfel", "Birne", "Zitrone", "Kirsche"],
    ],
    gain: ["bekommt", "kauft"],
    loss: ["verliert", "verschenkt"],
    quantity: ["mehr", "weniger"],
    extreme: ["größte", "kleinste"],
    relation: ["größer als", "kleiner als"],
    and: "und",
    or: ["oder", "oder"],
    add: Template {
        question: "{name} hat {a} {object} und {gain} noch {b}. \
            Wie viele {object} hat {name} jetzt?",
        thinking: "Da sind {a} {object} und dann noch {b}. \
            {a} und {b} sind {answer}, also ist die Antwort {answer}.",
        reply: "{name} hat jetzt {answer} {object}.",
    },
    subtract: Template {
        question: "{name} hat {a} {object} und {loss} {b}. Wie viele {object} hat {name} noch?",
        thinking: "Da sind {a} {object}, aber {b} davon sind weg. \
            {a} minus {b} ist {answer}, also ist die Antwort {answer}.",
        reply: "{name} hat noch {answer} {object}.",
    },
    two_step: Template {
        question: "{name} hat {a} {object}, {gain} noch {b} und {loss} dann {c}. \
            Wie viele {object} hat {name} jetzt?",
        thinking: "Zuerst sind {a} und {b} zusammen {sum}. \
            Dann ist {sum} minus {c} gleich {answer}, also ist die Antwort {answer}.",
        reply: "{name} hat jetzt {answer} {object}.",
    },
    compare: Template {
        question: "{first} hat {a} {object} und {second} hat {b}. Wer hat {quantity} {object}?",
        thinking: "{first} hat {a} {object} und {second} hat {b}. \
            {x} ist {relation} {y}, also ist die Antwort {answer}.",
        reply: "{answer} hat {quantity} {object}.",
    },
    largest: Template {
        question: "Welche Zahl ist die {extreme}: {a}, {b} {or} {c}?",
        thinking: "{x} ist {relation} {y} und {y} ist {relation} {z}, also ist die Antwort \
            {answer}.",
        reply: "Die {extreme} Zahl ist {answer}.",
    },
    weekday: Template {
        question: "Heute ist {today}. {name} {verb} in {offset} Tagen. \
            An welchem Tag {asked verb} {name}?",
        thinking: "Heute ist {today}. Danach kommen {days}, also ist die Antwort {answer}.",
        reply: "{name} {verb} am {answer}.",
    },
    opposite: Template {
        question: "{first} sagt, dass {noun} {adjective} ist. {second} sagt das Gegenteil. \
            Wie ist {noun} laut {second}?",
        thinking: "{first} sagt, dass {noun} {adjective} ist. \
            Das Gegenteil von {adjective} ist {answer}, also ist die Antwort {answer}.",
        reply: "Laut {second} ist {noun} {answer}.",
    },
    category: Template {
        question: "Welches Wort ist {kind}: {a}, {b} oder {c}?",
        thinking: "Das Wort {a} ist {kind a}, {b} ist {kind b} und {c} ist {kind c}, also ist die \
            Antwort {answer}.",
        reply: "Das richtige Wort ist {answer}.",
    },
};
