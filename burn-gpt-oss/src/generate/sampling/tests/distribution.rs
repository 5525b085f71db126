//! What is drawn, and that it stays so.

use super::{Reference, Sampler, Sampling, logits, warm};

/// Draws from the same logits again and again.
fn drawn(sampling: &Sampling, sequence: u64, logits: &[f32], count: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(sampling, sequence);
    let choose = |_| sampler.choose(&mut logits.to_vec(), &[]).unwrap();
    (0..count).map(choose).collect()
}

/// Pearson's statistic of how often each token was drawn.
fn chi_square(sampling: &Sampling, logits: &[f32], expected: &[f64]) -> f64 {
    let count = 100_000;
    let mut frequencies = vec![0.0; expected.len()];
    for id in drawn(sampling, 0, logits, count) {
        frequencies[id as usize] += 1.0;
    }
    let pairs = frequencies.iter().zip(expected);
    pairs
        .map(|(found, share)| match share * count as f64 {
            0.0 => {
                assert_eq!(*found, 0.0, "a token was drawn that the filters drop");
                0.0
            }
            expected => (found - expected).powi(2) / expected,
        })
        .sum()
}

#[test]
fn frequencies_are_the_probabilities() {
    let logits = logits(&[0.4, 0.05, 0.3, 0.15, 0.1]);
    // 18.5 is exceeded once in a thousand times with four degrees of freedom.
    let plain = chi_square(&warm(), &logits, &[0.4, 0.05, 0.3, 0.15, 0.1]);
    assert!(plain < 18.5, "{plain}");
    let hot = Sampling {
        temperature: 0.5,
        ..warm()
    };
    let squares = [0.16, 0.0025, 0.09, 0.0225, 0.01].map(|p| p / 0.285);
    let hot = chi_square(&hot, &logits, &squares);
    assert!(hot < 18.5, "{hot}");
}

#[test]
fn what_is_left_is_normalized_again() {
    let logits = logits(&[0.4, 0.05, 0.3, 0.15, 0.1]);
    let three = [0.4, 0.0, 0.3, 0.15, 0.0].map(|p| p / 0.85);
    for sampling in [
        Sampling { top_k: 3, ..warm() },
        Sampling {
            top_p: 0.8,
            ..warm()
        },
        Sampling {
            min_p: 0.3,
            ..warm()
        },
    ] {
        // Once in a thousand times with two degrees of freedom.
        let statistic = chi_square(&sampling, &logits, &three);
        assert!(statistic < 13.8, "{sampling:?}: {statistic}");
    }
}

#[test]
fn sequences_have_random_numbers_of_their_own() {
    let logits = vec![0.0; 1000];
    let alone = drawn(&warm(), 1, &logits, 50);
    let (mut first, mut second) = (Sampler::new(&warm(), 0), Sampler::new(&warm(), 1));
    let mut together = Vec::new();
    for _ in 0..50 {
        first.choose(&mut logits.clone(), &[]).unwrap();
        together.push(second.choose(&mut logits.clone(), &[]).unwrap());
    }
    assert_eq!(alone, together);
    let agreement = |other: Vec<u32>| other.iter().zip(&alone).filter(|(a, b)| a == b).count();
    assert!(agreement(drawn(&warm(), 0, &logits, 50)) < 3);
    let reseeded = Sampling { seed: 1, ..warm() };
    assert!(agreement(drawn(&reseeded, 1, &logits, 50)) < 3);
}

/// A change here changes what users get for their seeds.
#[test]
fn the_tokens_of_a_seed_stay() {
    let logits: Vec<f32> = (0..1000)
        .map(|id| (id * 7919 % 1000) as f32 / 100.0)
        .collect();
    let sampling = Sampling {
        temperature: 0.8,
        top_k: 200,
        top_p: 0.9,
        min_p: 0.01,
        repetition_penalty: 1.0,
        seed: 0x0123_4567_89ab_cdef,
    };
    let expected = [99, 322, 865, 408, 446, 309, 889, 408, 272, 247, 852, 605];
    assert_eq!(drawn(&sampling, 5, &logits, 12), expected);
    let mut reference = Reference::new(sampling.seed, 5);
    assert_eq!(
        expected.map(|_| reference.choose(&sampling, &logits, &[])),
        expected
    );
}

#[test]
fn a_whole_vocabulary_is_no_different() {
    let mut random = Reference::new(3, 0);
    let logits: Vec<f32> = (0..201_088)
        .map(|_| random.below(1 << 20) as f32 * 1e-5)
        .collect();
    for (top_k, top_p) in [(0, 1.0), (0, 0.6), (50, 0.95), (30_000, 1.0)] {
        let sampling = Sampling {
            temperature: 1.5,
            top_k,
            top_p,
            ..warm()
        };
        let found = drawn(&sampling, 2, &logits, 3);
        let mut reference = Reference::new(0, 2);
        let expected: Vec<u32> = found
            .iter()
            .map(|_| reference.choose(&sampling, &logits, &[]))
            .collect();
        assert_eq!(found, expected, "{sampling:?}");
    }
}
