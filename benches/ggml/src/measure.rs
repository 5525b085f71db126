//! Time by turns: what disturbs the machine for a while disturbs all candidates.

use std::time::Instant;

use crate::candidates::Candidate;

/// Bandwidths of one candidate, a round each.
pub struct Measurement {
    pub name: String,
    /// GB/s, sorted.
    rates: Vec<f64>,
}

impl Measurement {
    pub fn median(&self) -> f64 {
        self.rates[self.rates.len() / 2]
    }

    /// The quarters.
    pub fn spread(&self) -> [f64; 2] {
        let n = self.rates.len();
        [self.rates[n / 4], self.rates[n - 1 - n / 4]]
    }
}

/// Runs every candidate once in each round, after one round that does not count.
pub fn by_turns(candidates: &mut [Candidate<'_>], rounds: usize) -> Vec<Measurement> {
    let mut rates = vec![Vec::new(); candidates.len()];
    for round in 0..=rounds {
        for (candidate, rates) in candidates.iter_mut().zip(&mut rates) {
            let start = Instant::now();
            (candidate.run)();
            let seconds = start.elapsed().as_secs_f64();
            if round > 0 {
                rates.push(candidate.n_bytes as f64 / seconds / 1e9);
            }
        }
    }
    let all = candidates.iter().zip(rates);
    all.map(|(candidate, mut rates)| {
        rates.sort_by(f64::total_cmp);
        Measurement {
            name: candidate.name.clone(),
            rates,
        }
    })
    .collect()
}
