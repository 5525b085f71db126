//! Comparison with a tolerance, and a record of how much of it was used.
#![allow(dead_code)] // Every test binary uses a part of it.

use std::collections::BTreeMap;

/// The largest deviation per group, printed when dropped (see it with `--nocapture`).
pub struct Deviations {
    title: String,
    groups: BTreeMap<String, (f64, f64)>,
}

impl Deviations {
    pub fn new(title: &str) -> Self {
        Self {
            title: title.into(),
            groups: BTreeMap::new(),
        }
    }

    /// Asserts `|found - expected| <= limit` for every element whose index `counts`.
    pub fn compare_where(
        &mut self,
        group: &str,
        what: &str,
        (found, expected): (&[f32], &[f32]),
        limit: f64,
        counts: impl Fn(usize) -> bool,
    ) {
        assert_eq!(
            found.len(),
            expected.len(),
            "{}, {what}: number of elements",
            self.title
        );
        let (mut worst, mut at) = (0.0, None);
        for i in (0..found.len()).filter(|i| counts(*i)) {
            let deviation = (f64::from(found[i]) - f64::from(expected[i])).abs();
            // NaN must count as the worst.
            let deviation = if deviation.is_nan() {
                f64::INFINITY
            } else {
                deviation
            };
            if deviation > worst {
                (worst, at) = (deviation, Some(i));
            }
        }
        self.note(group, worst, limit);
        if let Some(i) = at.filter(|_| worst > limit) {
            panic!(
                "{}, {what}: element {i} is {}, expected {} (deviation {worst:e}, limit {limit:e})",
                self.title, found[i], expected[i]
            );
        }
    }

    /// [`compare_where`](Self::compare_where) for all elements.
    pub fn compare(&mut self, group: &str, what: &str, pair: (&[f32], &[f32]), limit: f64) {
        self.compare_where(group, what, pair, limit, |_| true);
    }

    /// Asserts `|found - expected| <= limit`.
    pub fn scalar(&mut self, group: &str, found: f64, expected: f64, limit: f64) {
        let deviation = (found - expected).abs();
        self.note(group, deviation, limit);
        assert!(
            deviation <= limit,
            "{}, {group}: {found}, expected {expected} (deviation {deviation:e}, limit {limit:e})",
            self.title
        );
    }

    /// Adds a deviation that was judged elsewhere.
    pub fn note(&mut self, group: &str, deviation: f64, limit: f64) {
        let entry = self.groups.entry(group.into()).or_insert((0.0, limit));
        // The share of the limit decides: limits may differ within a group.
        if deviation / limit > entry.0 / entry.1 {
            *entry = (deviation, limit);
        }
    }
}

impl Drop for Deviations {
    fn drop(&mut self) {
        for (group, (worst, limit)) in &self.groups {
            println!(
                "{}, {group}: deviation at most {worst:.2e}, limit {limit:.1e}",
                self.title
            );
        }
    }
}
