//! Spanish words and templates.

use super::{Phrases, Template};

/// Spanish.
pub const PHRASES: Phrases = Phrases {
    languages: ["inglés", "francés", "alemán", "español", "italiano"],
    translate: "Traduce al {language}: {text}",
    objects: ["manzanas", "peras", "rosas", "monedas", "cartas", "llaves"],
    nouns: ["el libro", "el abrigo", "el tren", "el jardín", "el puente"],
    adjectives: [
        "viejo", "nuevo", "grande", "pequeño", "bonito", "feo", "claro", "oscuro", "largo", "corto",
    ],
    days: [
        "lunes",
        "martes",
        "miércoles",
        "jueves",
        "viernes",
        "sábado",
        "domingo",
    ],
    day_article: "el ",
    verbs: [
        ("viaja", "viaja"),
        ("viene", "viene"),
        ("juega", "juega"),
        ("trabaja", "trabaja"),
    ],
    categories: ["un animal", "un color", "una fruta"],
    words: [
        ["perro", "gato", "caballo", "vaca"],
        ["rojo", "azul", "verde", "blanco"],
        ["manzana", "pera", "limón", "cereza"],
    ],
    gain: ["recibe", "compra"],
    loss: ["pierde", "regala"],
    quantity: ["más", "menos"],
    extreme: ["mayor", "menor"],
    relation: ["mayor que", "menor que"],
    and: "y",
    or: ["o", "u"],
    add: Template {
        question: "{name} tiene {a} {object} y {gain} {b} más. \
            ¿Cuántas {object} tiene {name} ahora?",
        thinking: "Hay {a} {object} y luego {b} más. \
            {a} y {b} son {answer}, así que la respuesta es {answer}.",
        reply: "{name} tiene ahora {answer} {object}.",
    },
    subtract: Template {
        question: "{name} tiene {a} {object} y {loss} {b}. ¿Cuántas {object} le quedan a {name}?",
        thinking: "Hay {a} {object}, pero {b} ya no están. \
            {a} menos {b} son {answer}, así que la respuesta es {answer}.",
        reply: "A {name} le quedan {answer} {object}.",
    },
    two_step: Template {
        question: "{name} tiene {a} {object}, {gain} {b} más y luego {loss} {c}. \
            ¿Cuántas {object} tiene {name} ahora?",
        thinking: "Primero, {a} y {b} son {sum}. \
            Luego {sum} menos {c} son {answer}, así que la respuesta es {answer}.",
        reply: "{name} tiene ahora {answer} {object}.",
    },
    compare: Template {
        question: "{first} tiene {a} {object} y {second} tiene {b}. \
            ¿Quién tiene {quantity} {object}?",
        thinking: "{first} tiene {a} {object} y {second} tiene {b}. \
            {x} es {relation} {y}, así que la respuesta es {answer}.",
        reply: "{answer} tiene {quantity} {object}.",
    },
    largest: Template {
        question: "¿Qué número es el {extreme}: {a}, {b} {or} {c}?",
        thinking: "{x} es {relation} {y} y {y} es {relation} {z}, así que la respuesta es \
            {answer}.",
        reply: "El número {extreme} es {answer}.",
    },
    weekday: Template {
        question: "Hoy es {today}. {name} {verb} en {offset} días. ¿Qué día {asked verb} {name}?",
        thinking: "Hoy es {today}. Después vienen {days}, así que la respuesta es {answer}.",
        reply: "{name} {verb} el {answer}.",
    },
    opposite: Template {
        question: "{first} dice que {noun} es {adjective}. {second} dice lo contrario. \
            ¿Cómo es {noun} según {second}?",
        thinking: "{first} dice que {noun} es {adjective}. \
            Lo contrario de {adjective} es {answer}, así que la respuesta es {answer}.",
        reply: "Según {second}, {noun} es {answer}.",
    },
    category: Template {
        question: "¿Qué palabra es {kind}: {a}, {b} o {c}?",
        thinking: "La palabra {a} es {kind a}, {b} es {kind b} y {c} es {kind c}, así que la \
            respuesta es {answer}.",
        reply: "La palabra correcta es {answer}.",
    },
};
