//! French words and templates.

use super::{Phrases, Template};

/// French. Everything that follows "de" or "que" starts with a consonant: no elisions.
pub const PHRASES: Phrases = Phrases {
    languages: ["anglais", "français", "allemand", "espagnol", "italien"],
    translate: "Traduis en {language} : {text}",
    objects: ["pommes", "poires", "roses", "pièces", "cartes", "clés"],
    nouns: ["le livre", "le manteau", "le train", "le jardin", "le pont"],
    adjectives: [
        "vieux", "neuf", "grand", "petit", "beau", "laid", "clair", "sombre", "long", "court",
    ],
    days: [
        "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche",
    ],
    day_article: "",
    verbs: [
        ("voyage", "voyage"),
        ("vient", "vient"),
        ("joue", "joue"),
        ("travaille", "travaille"),
    ],
    categories: ["un animal", "une couleur", "un fruit"],
    words: [
        ["chien", "chat", "cheval", "vache"],
        ["rouge", "bleu", "vert", "blanc"],
        ["pomme", "poire", "citron", "cerise"],
    ],
    gain: ["reçoit", "achète"],
    loss: ["perd", "donne"],
    quantity: ["plus", "moins"],
    extreme: ["plus grand", "plus petit"],
    relation: ["plus grand que", "plus petit que"],
    and: "et",
    or: ["ou", "ou"],
    add: Template {
        question: "{name} a {a} {object} et en {gain} encore {b}. \
            Combien de {object} a {name} maintenant ?",
        thinking: "On compte {a} {object} et encore {b}. \
            {a} et {b} font {answer}, donc la réponse est {answer}.",
        reply: "{name} a maintenant {answer} {object}.",
    },
    subtract: Template {
        question: "{name} a {a} {object} et en {loss} {b}. \
            Combien de {object} reste-t-il à {name} ?",
        thinking: "On compte {a} {object}, mais {b} ne sont plus là. \
            {a} moins {b} font {answer}, donc la réponse est {answer}.",
        reply: "Il reste {answer} {object} à {name}.",
    },
    two_step: Template {
        question: "{name} a {a} {object}, en {gain} encore {b}, puis en {loss} {c}. \
            Combien de {object} a {name} maintenant ?",
        thinking: "D'abord, {a} et {b} font {sum}. \
            Puis {sum} moins {c} font {answer}, donc la réponse est {answer}.",
        reply: "{name} a maintenant {answer} {object}.",
    },
    compare: Template {
        question: "{first} a {a} {object} et {second} en a {b}. Qui a {quantity} de {object} ?",
        thinking: "{first} a {a} {object} et {second} en a {b}. \
            {x} est {relation} {y}, donc la réponse est {answer}.",
        reply: "{answer} a {quantity} de {object}.",
    },
    largest: Template {
        question: "Quel nombre est le {extreme} : {a}, {b} {or} {c} ?",
        thinking: "{x} est {relation} {y} et {y} est {relation} {z}, donc la réponse est {answer}.",
        reply: "Le {extreme} nombre est {answer}.",
    },
    weekday: Template {
        question: "Aujourd'hui, c'est {today}. {name} {verb} dans {offset} jours. \
            Quel jour {asked verb} {name} ?",
        thinking: "Aujourd'hui, c'est {today}. \
            Ensuite viennent {days}, donc la réponse est {answer}.",
        reply: "{name} {verb} {answer}.",
    },
    opposite: Template {
        question: "{first} dit que {noun} est {adjective}. {second} dit le contraire. \
            Comment est {noun} selon {second} ?",
        thinking: "{first} dit que {noun} est {adjective}. \
            Le contraire de {adjective} est {answer}, donc la réponse est {answer}.",
        reply: "Selon {second}, {noun} est {answer}.",
    },
    category: Template {
        question: "Quel mot est {kind} : {a}, {b} ou {c} ?",
        thinking: "Le mot {a} est {kind a}, {b} est {kind b} et {c} est {kind c}, donc la réponse \
            est {answer}.",
        reply: "Le bon mot est {answer}.",
    },
};
