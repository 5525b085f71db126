use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The five reasoning languages of Multilingual-Thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Language {
    /// English.
    English,
    /// French.
    French,
    /// German.
    German,
    /// Spanish.
    Spanish,
    /// Italian.
    Italian,
}

/// Function words, the most frequent words of any text. A word may count for several languages.
const FUNCTION_WORDS: [(Language, &str); 5] = [
    (
        Language::English,
        "the is so and of than are has have then there that but to in we they which with this for \
         not it was be should user answer can from what",
    ),
    (
        Language::French,
        "donc est et plus le la les des du un une moins en font mais puis que qui pour dans il elle \
         nous pas avec ce cette sur au aux réponse utilisateur doit sont à",
    ),
    (
        Language::German,
        "ist die der das und also als dann ein eine einen hat sind aber von noch nicht zu mit wir \
         den dem für auf auch es er sie antwort benutzer soll wie",
    ),
    (
        Language::Spanish,
        "así es y el la los las son lo hay luego más menos pero tiene una un por para con que del de \
         en se no respuesta usuario debe como su",
    ),
    (
        Language::Italian,
        "quindi è e di il la lo gli che ha fanno poi sono ci ma non più meno una un per del della \
         con si in risposta utente deve come nel",
    ),
];

impl Language {
    /// All five.
    pub const ALL: [Self; 5] = [
        Self::English,
        Self::French,
        Self::German,
        Self::Spanish,
        Self::Italian,
    ];

    /// Whether a text is written in a language, by its English name: one of the five by its function words, any
    /// other that `whatlang` knows by its letters. False for a language that nobody knows.
    pub fn is(name: &str, text: &str) -> bool {
        if let Ok(language) = name.parse() {
            return Self::of(text) == Some(language);
        }
        let asked = whatlang::Lang::all().iter();
        let mut asked = asked.filter(|lang| lang.eng_name().eq_ignore_ascii_case(name.trim()));
        let found = whatlang::detect_lang(text);
        asked.next().is_some_and(|asked| found == Some(*asked))
    }

    /// The language of a text by its function words; `None` if fewer than two occur or two languages
    /// tie.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.to_lowercase();
        let words: Vec<&str> = text
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        let mut scores = FUNCTION_WORDS.map(|(language, list)| {
            let known: Vec<&str> = list.split_whitespace().collect();
            (
                words.iter().filter(|word| known.contains(word)).count(),
                language,
            )
        });
        scores.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        let [(best, language), (second, _), ..] = scores;
        (best >= 2 && best > second).then_some(language)
    }
}

impl FromStr for Language {
    type Err = ();

    /// The English name, in any case.
    fn from_str(name: &str) -> Result<Self, ()> {
        let is = |language: &Self| format!("{language:?}").eq_ignore_ascii_case(name.trim());
        Self::ALL.into_iter().find(is).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_sentences() {
        for (expected, text) in [
            (
                Language::English,
                "The user asks for the sum, so we add both numbers.",
            ),
            (
                Language::French,
                "L'utilisateur demande la somme, donc il faut additionner les deux.",
            ),
            (
                Language::German,
                "Der Benutzer fragt nach der Summe, also ist die Antwort 7.",
            ),
            (
                Language::Spanish,
                "El usuario pregunta por la suma, así que la respuesta es 7.",
            ),
            (
                Language::Italian,
                "L'utente chiede la somma, quindi la risposta è 7.",
            ),
        ] {
            assert_eq!(Language::of(text), Some(expected), "{text}");
        }
        assert_eq!(Language::of("7 + 4 = 11"), None);
        let russian = "Пользователь спрашивает о сумме, поэтому ответ равен семи.";
        assert!(
            Language::is("Russian", russian) && !Language::is("russian", "The answer is seven.")
        );
        assert!(Language::is(
            " french",
            "Il faut donc additionner les deux, et la réponse est 7."
        ));
        assert!(!Language::is("Klingon", russian));
        assert_eq!(Language::of(""), None);
    }
}
