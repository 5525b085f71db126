//! The tokens that are left to draw from. A *weight* is a probability as a share of the highest one,
//! so the most likely token has weight 1.

use std::cmp::Ordering;

use super::exp::exp_of_negative;

/// A token that may be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) id: u32,
    pub(super) weight: f32,
}

/// The `k`-th of the logits from the highest down, with `k` from 1, or the lowest number if there are
/// not so many above it.
pub(super) fn kth_largest(logits: &[f32], k: usize) -> f32 {
    let mut floor = f32::MIN;
    let mut largest = Vec::with_capacity(2 * k);
    for &logit in logits {
        if logit > floor {
            largest.push(logit);
            // The floor rises quickly, so most logits cost no more than the comparison.
            if largest.len() == 2 * k {
                floor = keep_largest(&mut largest, k);
            }
        }
    }
    if largest.len() < k {
        return f32::MIN;
    }
    keep_largest(&mut largest, k)
}

/// Drops all but the `k` largest and gives the smallest of these.
fn keep_largest(values: &mut Vec<f32>, k: usize) -> f32 {
    let (_, kth, _) = values.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let kth = *kth;
    values.truncate(k);
    kth
}

/// The tokens with a logit of at least `floor`, in the order of their ids. `max` is the highest logit.
pub(super) fn weigh(logits: &[f32], max: f32, floor: f32, temperature: f32) -> Vec<Candidate> {
    let mut candidates = Vec::with_capacity(logits.len());
    for (id, &weight) in (0..).zip(logits) {
        if weight >= floor {
            candidates.push(Candidate { id, weight });
        }
    }
    let (max, factor) = (f64::from(max), 1.0 / f64::from(temperature));
    // A loop of its own, because this one is vectorized.
    for Candidate { weight, .. } in &mut candidates {
        *weight = exp_of_negative((f64::from(*weight) - max) * factor);
    }
    candidates
}

/// Drops the tokens that `top_p` or `min_p` drops.
pub(super) fn select(candidates: &mut Vec<Candidate>, top_p: f32, min_p: f32) {
    if top_p < 1.0 {
        let last = Edge::find(candidates, top_p).last(candidates);
        candidates.retain(|candidate| {
            let Candidate { id, weight } = *candidate;
            weight >= min_p && (weight > last.weight || weight == last.weight && id <= last.id)
        });
    } else if min_p > 0.0 {
        candidates.retain(|candidate| candidate.weight >= min_p);
    }
}

/// Weights that agree in their exponent and five more bits; likelier ones are in higher classes.
fn class(weight: f32) -> usize {
    (weight.to_bits() >> 18) as usize
}

/// Where the sum of the weights, from the highest down, reaches `top_p`. By classes first, which spares
/// sorting the vocabulary.
struct Edge {
    /// The class of the last token that is needed.
    class: usize,
    /// What is needed of this class.
    missing: f64,
}

impl Edge {
    fn find(candidates: &[Candidate], top_p: f32) -> Self {
        let mut sums = vec![0.0; class(1.0) + 1];
        for &Candidate { weight, .. } in candidates {
            sums[class(weight)] += f64::from(weight);
        }
        let mut missing = f64::from(top_p) * sums.iter().rev().sum::<f64>();
        let mut class = sums.len() - 1;
        while class > 0 && sums[class] < missing {
            missing -= sums[class];
            class -= 1;
        }
        Self { class, missing }
    }

    /// There is one: the highest class holds the most likely token, and a search that goes on is over
    /// at the lowest weights at the latest, since `top_p` leaves out more than rounding does.
    fn last(&self, candidates: &[Candidate]) -> Candidate {
        let in_class = candidates
            .iter()
            .filter(|candidate| class(candidate.weight) == self.class);
        last_within(&mut in_class.copied().collect::<Vec<_>>(), self.missing)
    }
}

/// The last of the fewest likely candidates whose weights add up to `mass`, or of all if they do not.
/// A quickselect that follows the sum.
fn last_within(candidates: &mut [Candidate], mass: f64) -> Candidate {
    let mut rest = candidates;
    let mut missing = mass;
    while rest.len() > 1 {
        let middle = rest.len() / 2;
        rest.select_nth_unstable_by(middle, likelier_first);
        let (likely, unlikely) = rest.split_at_mut(middle);
        let sum = sum(likely);
        if sum >= missing {
            rest = likely;
        } else {
            missing -= sum;
            rest = unlikely;
        }
    }
    rest[0]
}

fn likelier_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.weight.total_cmp(&a.weight).then(a.id.cmp(&b.id))
}

fn sum(candidates: &[Candidate]) -> f64 {
    let weights = candidates.iter().map(|candidate| candidate.weight);
    weights.map(f64::from).sum()
}

/// The candidate whose part of the weights, laid end to end, holds the point `share` in `0.0..1.0` of
/// the whole.
pub(super) fn draw(candidates: &[Candidate], share: f64) -> u32 {
    let point = share * sum(candidates);
    let (mut end, mut drawn) = (0.0, 0);
    for candidate in candidates.iter().filter(|candidate| candidate.weight > 0.0) {
        end += f64::from(candidate.weight);
        drawn = candidate.id;
        if end > point {
            break;
        }
    }
    // Rounding can put the point at the very end; then it is the last one.
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(weights: &[f32]) -> Vec<Candidate> {
        let pairs = (0..).zip(weights);
        pairs
            .map(|(id, &weight)| Candidate { id, weight })
            .collect()
    }

    #[test]
    fn top_p_ends_with_a_class_that_just_reaches_it() {
        let selected = |top_p| {
            let mut candidates = candidates(&[0.25, 1.0, 0.25, 0.5]);
            select(&mut candidates, top_p, 0.0);
            let ids = candidates.iter().map(|candidate| candidate.id);
            ids.collect::<Vec<u32>>()
        };
        assert_eq!(selected(0.5), [1]);
        assert_eq!(selected(0.75), [1, 3]);
        assert_eq!(selected(0.875), [0, 1, 3]);
        assert_eq!(selected(0.5 + f32::EPSILON), [1, 3]);
    }

    #[test]
    fn classes_keep_the_order() {
        let weights = [0.0, 1e-45, 1e-30, 0.24, 0.25, 0.251, 0.5, 0.999, 1.0];
        let classes = weights.map(class);
        assert!(classes.is_sorted(), "{classes:?}");
        assert!(class(1.0) > class(1.0 - f32::EPSILON));
    }

    #[test]
    fn every_point_belongs_to_one_candidate() {
        let candidates = candidates(&[0.0, 1.0, 0.5, 0.0, 0.5, 0.0]);
        for (share, id) in [
            (0.0, 1),
            (0.49, 1),
            (0.5, 2),
            (0.74, 2),
            (0.75, 4),
            (1.0, 4),
        ] {
            assert_eq!(draw(&candidates, share), id, "{share}");
        }
    }

    #[test]
    fn the_kth_of_few_is_the_lowest_number() {
        let logits = [1.0, f32::NEG_INFINITY, 3.0, 2.0];
        let kth: Vec<f32> = (1..=4).map(|k| kth_largest(&logits, k)).collect();
        assert_eq!(kth, [3.0, 2.0, 1.0, f32::MIN]);
    }
}
