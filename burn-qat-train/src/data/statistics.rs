use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;

use burn_gpt_oss::{Message, Role};

use super::{ChatRecord, TokenizedExample};

/// What a dataset is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataStatistics {
    /// Tokens of each conversation, in ascending order.
    pub lengths: Vec<usize>,
    /// Tokens that are trained.
    pub n_trained: usize,
    /// Conversations longer than the limit, and tokens behind it.
    pub cut: (usize, usize),
    /// Conversations that are there before, token for token.
    pub n_duplicates: usize,
    /// Languages of the answers, the most frequent first, with the number of conversations. What is too
    /// short or unclear is `unknown`.
    pub languages: Vec<(String, usize)>,
    /// Languages of the reasoning before the answers; conversations without are left out.
    pub reasoning_languages: Vec<(String, usize)>,
}

impl DataStatistics {
    /// Measures conversations that are not cut yet; `max_length` is where they would be.
    ///
    /// # Panics
    /// If there are more examples than records.
    pub fn of(records: &[&ChatRecord], examples: &[TokenizedExample], max_length: usize) -> Self {
        let mut lengths: Vec<usize> = examples
            .iter()
            .map(|example| example.tokens.len())
            .collect();
        let behind = lengths
            .iter()
            .map(|length| length.saturating_sub(max_length));
        let cut = behind.filter(|tokens| *tokens > 0);
        let cut = cut.fold((0, 0), |(n, tokens), behind| (n + 1, tokens + behind));
        lengths.sort_unstable();
        let seen: HashSet<&[u32]> = examples
            .iter()
            .map(|example| example.tokens.as_slice())
            .collect();
        let of_records = || records[..examples.len()].iter();
        Self {
            lengths,
            n_trained: examples.iter().map(TokenizedExample::n_targets).sum(),
            cut,
            n_duplicates: examples.len() - seen.len(),
            languages: counted(of_records().map(|record| language(&answer(record)))),
            reasoning_languages: counted(of_records().filter_map(|record| {
                let thinking = last_answer(record)?.thinking.as_deref()?;
                (!thinking.is_empty()).then(|| language(thinking))
            })),
        }
    }

    /// All tokens.
    pub fn n_tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// The length that a share of the conversations does not exceed; 0.5 is the median.
    pub fn quantile(&self, share: f64) -> usize {
        let last = self.lengths.len().saturating_sub(1);
        let index = (share.clamp(0.0, 1.0) * last as f64).round() as usize;
        self.lengths.get(index).copied().unwrap_or(0)
    }

    /// Lengths in up to `n` ranges of the same width, with the number of conversations in each.
    pub fn histogram(&self, n: usize) -> Vec<(RangeInclusive<usize>, usize)> {
        let longest = self.lengths.last().copied().unwrap_or(0);
        let shortest = self.lengths.first().copied().unwrap_or(0).max(1);
        let width = rounded(
            (longest.saturating_sub(shortest) + 1)
                .div_ceil(n.max(1))
                .max(1),
        );
        let first = (shortest - 1) / width;
        let bins = longest.div_ceil(width);
        let count = |range: &RangeInclusive<usize>| {
            self.lengths
                .iter()
                .filter(|length| range.contains(length))
                .count()
        };
        let range = |bin: usize| bin * width + 1..=(bin + 1) * width;
        (first..bins)
            .map(range)
            .map(|range| (range.clone(), count(&range)))
            .collect()
    }
}

/// The next number of the form 1, 2 or 5 times a power of ten: widths that one can read.
fn rounded(width: usize) -> usize {
    let mut unit = 1;
    loop {
        let fits = [1, 2, 5]
            .map(|digit| digit * unit)
            .into_iter()
            .find(|step| *step >= width);
        match fits {
            Some(step) => return step,
            None => unit *= 10,
        }
    }
}

/// The last answer of a conversation, or a plain text.
fn answer(record: &ChatRecord) -> Cow<'_, str> {
    match &record.text {
        Some(text) => Cow::Borrowed(text),
        None => last_answer(record).map_or_else(Cow::default, |message| message.content.text()),
    }
}

fn last_answer(record: &ChatRecord) -> Option<&Message> {
    let mut answers = record.messages.iter().rev();
    answers.find(|message| message.role == Role::Assistant)
}

fn language(text: &str) -> &'static str {
    let found = whatlang::detect(text).filter(whatlang::Info::is_reliable);
    found.map_or("unknown", |found| found.lang().eng_name())
}

fn counted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    let mut counts: Vec<_> = counts
        .into_iter()
        .map(|(name, n)| (name.to_owned(), n))
        .collect();
    counts.sort_by_key(|(_, n)| Reverse(*n));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(n: usize) -> TokenizedExample {
        TokenizedExample {
            tokens: vec![1; n],
            loss_mask: (0..n).map(|i| i >= 2).collect(),
            starts: Vec::new(),
        }
    }

    #[test]
    fn lengths_copies_and_languages_are_counted() {
        let answer =
            "Der schnelle braune Fuchs springt über den faulen Hund, und niemand hat es gesehen.";
        let record = ChatRecord {
            messages: vec![Message::user("?"), Message::assistant(answer)],
            ..ChatRecord::default()
        };
        let examples = [4, 10, 4, 27].map(example);
        let statistics = DataStatistics::of(&[&record; 4], &examples, 9);
        assert_eq!(statistics.lengths, [4, 4, 10, 27]);
        assert_eq!((statistics.n_tokens(), statistics.n_trained), (45, 37));
        assert_eq!((statistics.cut, statistics.n_duplicates), ((2, 19), 1));
        assert_eq!(
            (statistics.quantile(0.0), statistics.quantile(1.0)),
            (4, 27)
        );
        assert_eq!(statistics.languages, [("German".to_owned(), 4)]);
        let histogram = statistics.histogram(3);
        assert_eq!(histogram, [(1..=10, 3), (11..=20, 0), (21..=30, 1)]);
        assert_eq!(
            DataStatistics::of(&[&record; 2], &[30, 27].map(example), 99).histogram(3)[0].0,
            27..=28
        );
        assert!(statistics.reasoning_languages.is_empty());
    }
}
