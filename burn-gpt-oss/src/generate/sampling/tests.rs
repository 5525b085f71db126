mod distribution;
mod reference;

use super::*;
use reference::Reference;

/// Logits of the given probabilities.
fn logits(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

fn warm() -> Sampling {
    Sampling {
        temperature: 1.0,
        ..Sampling::greedy()
    }
}

/// The ids that the filters leave.
fn kept(sampling: &Sampling, logits: &[f32]) -> Vec<u32> {
    let max = logits[most_likely(logits).unwrap()];
    let candidates = Sampler::new(sampling, 0).candidates(logits, max);
    candidates.iter().map(|candidate| candidate.id).collect()
}

#[test]
fn greedy_takes_the_first_of_the_most_likely() {
    let mut sampler = Sampler::new(&Sampling::default(), 0);
    let mut choose = |logits: &[f32]| sampler.choose(&mut logits.to_vec(), &[]).unwrap();
    assert_eq!(choose(&[1.0, 3.0, 2.0, 3.0]), 1);
    assert_eq!(choose(&[f32::NEG_INFINITY, -0.0, 0.0]), 1);
    assert_eq!(choose(&[-5.0]), 0);
}

#[test]
fn top_k_keeps_all_that_are_as_likely_as_the_last() {
    let logits = [1.0, 3.0, 2.0, 3.0, 2.0, 0.0];
    let kept = |top_k| kept(&Sampling { top_k, ..warm() }, &logits);
    assert_eq!(kept(1), [1, 3]);
    assert_eq!(kept(2), [1, 3]);
    assert_eq!(kept(3), [1, 2, 3, 4]);
    assert_eq!(kept(5), [0, 1, 2, 3, 4]);
    for all in [0, 6, 7, usize::MAX] {
        assert_eq!(kept(all), [0, 1, 2, 3, 4, 5]);
    }
}

#[test]
fn top_p_keeps_the_fewest_that_reach_it() {
    // Powers of two, so that every sum is exact.
    let probabilities = logits(&[0.125, 0.5, 0.25, 0.125]);
    let kept = |top_p| kept(&Sampling { top_p, ..warm() }, &probabilities);
    assert_eq!(kept(0.0), [1]);
    assert_eq!(kept(0.49), [1]);
    assert_eq!(kept(0.51), [1, 2]);
    assert_eq!(kept(0.74), [1, 2]);
    assert_eq!(kept(0.76), [0, 1, 2]);
    assert_eq!(kept(0.88), [0, 1, 2, 3]);
    assert_eq!(kept(1.0), [0, 1, 2, 3]);
}

#[test]
fn top_p_counts_a_sum_that_is_just_reached() {
    let kept = |top_p| kept(&Sampling { top_p, ..warm() }, &[0.0; 8]);
    assert_eq!(kept(0.25), [0, 1]);
    assert_eq!(kept(0.25 + f32::EPSILON), [0, 1, 2]);
    assert_eq!(kept(0.875), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn min_p_keeps_shares_of_the_highest_probability() {
    let logits = logits(&[0.1, 0.4, 0.2, 0.3]);
    let kept = |min_p| kept(&Sampling { min_p, ..warm() }, &logits);
    assert_eq!(kept(0.0), [0, 1, 2, 3]);
    assert_eq!(kept(0.26), [1, 2, 3]);
    assert_eq!(kept(0.49), [1, 2, 3]);
    assert_eq!(kept(0.51), [1, 3]);
    assert_eq!(kept(0.76), [1]);
    assert_eq!(kept(1.0), [1]);
}

#[test]
fn top_p_is_a_part_of_what_top_k_leaves() {
    let logits = logits(&[0.4, 0.3, 0.2, 0.1]);
    // 0.4 of 0.7 is 0.57.
    let narrow = |top_p| Sampling {
        top_k: 2,
        top_p,
        ..warm()
    };
    assert_eq!(kept(&narrow(0.56), &logits), [0]);
    assert_eq!(kept(&narrow(0.58), &logits), [0, 1]);
}

#[test]
fn top_p_counts_what_min_p_drops() {
    let logits = logits(&[0.4, 0.3, 0.2, 0.1]);
    let both = |top_p, min_p| Sampling {
        top_p,
        min_p,
        ..warm()
    };
    assert_eq!(kept(&both(0.69, 0.6), &logits), [0, 1]);
    assert_eq!(kept(&both(0.95, 0.6), &logits), [0, 1]);
    assert_eq!(kept(&both(0.39, 0.6), &logits), [0]);
}

#[test]
fn temperature_comes_before_the_other_filters() {
    // At temperature 0.5 the probabilities are 16, 9, 4 and 1 of 30.
    let logits = logits(&[0.4, 0.3, 0.2, 0.1]);
    let cool = |top_p, min_p| Sampling {
        temperature: 0.5,
        top_p,
        min_p,
        ..warm()
    };
    assert_eq!(kept(&cool(0.53, 0.0), &logits), [0]);
    assert_eq!(kept(&cool(0.54, 0.0), &logits), [0, 1]);
    assert_eq!(kept(&cool(1.0, 0.24), &logits), [0, 1, 2]);
    assert_eq!(kept(&cool(1.0, 0.26), &logits), [0, 1]);
}

#[test]
fn the_penalty_meets_each_token_once() {
    let mut logits = [2.0, -2.0, 0.0, f32::NEG_INFINITY, 4.0];
    penalize(&mut logits, &[0, 1, 1, 0, 2, 3, 5, u32::MAX], 2.0);
    assert_eq!(logits, [1.0, -4.0, 0.0, f32::NEG_INFINITY, 4.0]);
    let sampling = Sampling {
        repetition_penalty: 1.5,
        ..Sampling::greedy()
    };
    let mut sampler = Sampler::new(&sampling, 0);
    assert_eq!(sampler.choose(&mut [3.0, 2.5], &[0]).unwrap(), 1);
    assert_eq!(sampler.choose(&mut [3.0, 2.5], &[0, 1]).unwrap(), 0);
}

#[test]
fn extreme_temperatures_are_harmless() {
    let at = |temperature, logits: &[f32]| {
        let sampling = Sampling {
            temperature,
            ..warm()
        };
        let mut sampler = Sampler::new(&sampling, 0);
        let mut draw = |_| sampler.choose(&mut logits.to_vec(), &[]).unwrap();
        (0..100).map(&mut draw).collect::<Vec<u32>>()
    };
    let logits = [-3e38, 1.0, 1.0 + f32::EPSILON, 3e38, f32::NEG_INFINITY];
    assert!(at(1e-45, &logits).iter().all(|id| *id == 3));
    assert!(at(1e-45, &logits[..3]).iter().all(|id| *id == 2));
    assert!(at(f32::MAX, &logits).iter().all(|id| *id < 4));
}

#[test]
fn unusable_logits_are_refused() {
    let nothing = [f32::NEG_INFINITY; 2];
    for (logits, reason) in [
        (&[0.0, f32::NAN][..], "token 1 is NaN"),
        (&[f32::NAN, 0.0], "token 0 is NaN"),
        (&[0.0, f32::INFINITY], "token 1 is infinite"),
        (&nothing, "no logit is finite"),
        (&[], "no logit is finite"),
    ] {
        for sampling in [Sampling::greedy(), warm()] {
            let mut sampler = Sampler::new(&sampling, 7);
            let error = sampler.choose(&mut logits.to_vec(), &[]).unwrap_err();
            let text = error.to_string();
            assert!(
                text.starts_with("sequence 7: ") && text.contains(reason),
                "{text}"
            );
        }
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let wrong = |change: fn(&mut Sampling)| {
        let mut sampling = warm();
        change(&mut sampling);
        sampling.check().unwrap_err().to_string()
    };
    for (error, key, found) in [
        (wrong(|s| s.temperature = -0.5), "temperature", "-0.5"),
        (wrong(|s| s.temperature = f32::NAN), "temperature", "NaN"),
        (
            wrong(|s| s.temperature = f32::INFINITY),
            "temperature",
            "inf",
        ),
        (wrong(|s| s.top_p = 1.5), "top_p", "1.5"),
        (wrong(|s| s.top_p = -0.1), "top_p", "-0.1"),
        (wrong(|s| s.min_p = f32::NAN), "min_p", "NaN"),
        (
            wrong(|s| s.repetition_penalty = 0.0),
            "repetition_penalty",
            "0",
        ),
        (
            wrong(|s| s.repetition_penalty = -1.0),
            "repetition_penalty",
            "-1",
        ),
    ] {
        let expected = format!("`{key}` is {found}, expected ");
        assert!(error.starts_with(&expected), "{error}");
    }
    for fine in [Sampling::greedy(), warm()] {
        fine.check().unwrap();
    }
}

#[test]
fn agrees_with_a_plain_implementation() {
    let mut random = Reference::new(9, 0);
    for case in 0..400 {
        let settings = [
            random.below(4),
            random.below(5),
            random.below(4),
            random.below(3),
        ];
        let [temperature, top_k, top_p, min_p] = settings;
        let sampling = Sampling {
            temperature: [0.3, 0.7, 1.0, 2.0][temperature],
            top_k: [0, 1, 5, 40, 299][top_k],
            top_p: [0.0, 0.5, 0.9, 1.0][top_p],
            min_p: [0.0, 0.02, 0.3][min_p],
            repetition_penalty: [1.0, 1.3][case % 2],
            seed: 11,
        };
        // Steps of a quarter make many ties.
        let logits: Vec<f32> = (0..300)
            .map(|_| random.below(40) as f32 / 4.0 - 3.0)
            .collect();
        let context: Vec<u32> = (0..50).map(|_| random.below(300) as u32).collect();
        let mut sampler = Sampler::new(&sampling, case as u64);
        let mut reference = Reference::new(11, case as u64);
        for _ in 0..20 {
            let found = sampler.choose(&mut logits.clone(), &context).unwrap();
            assert_eq!(
                found,
                reference.choose(&sampling, &logits, &context),
                "{sampling:?}"
            );
        }
    }
}
