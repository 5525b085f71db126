//! Italian words and templates.

use super::{Phrases, Template};

/// Italian.
pub const PHRASES: Phrases = Phrases {
    languages: ["inglese", "francese", "tedesco", "spagnolo", "italiano"],
    translate: "Traduci in {language}: {text}",
    objects: ["mele", "pere", "rose", "monete", "carte", "chiavi"],
    nouns: [
        "il libro",
        "il cappotto",
        "il treno",
        "il giardino",
        "il ponte",
    ],
    adjectives: [
        "vecchio", "nuovo", "grande", "piccolo", "bello", "brutto", "chiaro", "scuro", "lungo",
        "corto",
    ],
    days: [
        "lunedì",
        "martedì",
        "mercoledì",
        "giovedì",
        "venerdì",
        "sabato",
        "domenica",
    ],
    day_article: "",
    verbs: [
        ("viaggia", "viaggia"),
        ("viene", "viene"),
        ("gioca", "gioca"),
        ("lavora", "lavora"),
    ],
    categories: ["un animale", "un colore", "un frutto"],
    words: [
        ["cane", "gatto", "cavallo", "mucca"],
        ["rosso", "blu", "verde", "bianco"],
        ["mela", "pera", "limone", "ciliegia"],
    ],
    gain: ["riceve", "compra"],
    loss: ["perde", "regala"],
    quantity: ["più", "meno"],
    extreme: ["maggiore", "minore"],
    relation: ["maggiore di", "minore di"],
    and: "e",
    or: ["o", "o"],
    add: Template {
        question: "{name} ha {a} {object} e ne {gain} altre {b}. Quante {object} ha {name} adesso?",
        thinking: "Ci sono {a} {object} e poi altre {b}. \
            {a} e {b} fanno {answer}, quindi la risposta è {answer}.",
        reply: "{name} ha adesso {answer} {object}.",
    },
    subtract: Template {
        question: "{name} ha {a} {object} e ne {loss} {b}. Quante {object} restano a {name}?",
        thinking: "Ci sono {a} {object}, ma {b} non ci sono più. \
            {a} meno {b} fa {answer}, quindi la risposta è {answer}.",
        reply: "A {name} restano {answer} {object}.",
    },
    two_step: Template {
        question: "{name} ha {a} {object}, ne {gain} altre {b} e poi ne {loss} {c}. \
            Quante {object} ha {name} adesso?",
        thinking: "Prima {a} e {b} fanno {sum}. \
            Poi {sum} meno {c} fa {answer}, quindi la risposta è {answer}.",
        reply: "{name} ha adesso {answer} {object}.",
    },
    compare: Template {
        question: "{first} ha {a} {object} e {second} ne ha {b}. Chi ha {quantity} {object}?",
        thinking: "{first} ha {a} {object} e {second} ne ha {b}. \
            {x} è {relation} {y}, quindi la risposta è {answer}.",
        reply: "{answer} ha {quantity} {object}.",
    },
    largest: Template {
        question: "Qual è il numero {extreme}: {a}, {b} {or} {c}?",
        thinking: "{x} è {relation} {y} e {y} è {relation} {z}, quindi la risposta è {answer}.",
        reply: "Il numero {extreme} è {answer}.",
    },
    weekday: Template {
        question: "Oggi è {today}. {name} {verb} tra {offset} giorni. \
            Che giorno {asked verb} {name}?",
        thinking: "Oggi è {today}. Poi vengono {days}, quindi la risposta è {answer}.",
        reply: "{name} {verb} {answer}.",
    },
    opposite: Template {
        question: "{first} dice che {noun} è {adjective}. {second} dice il contrario. \
            Com'è {noun} secondo {second}?",
        thinking: "{first} dice che {noun} è {adjective}. \
            Il contrario di {adjective} è {answer}, quindi la risposta è {answer}.",
        reply: "Secondo {second}, {noun} è {answer}.",
    },
    category: Template {
        question: "Quale parola è {kind}: {a}, {b} o {c}?",
        thinking: "La parola {a} è {kind a}, {b} è {kind b} e {c} è {kind c}, quindi la risposta \
            è {answer}.",
        reply: "La parola giusta è {answer}.",
    },
};
