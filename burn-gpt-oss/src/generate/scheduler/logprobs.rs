//! How likely tokens were, by the logits of the model before anything changes them.

/// A token and the logarithm of its probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Logprob {
    /// The token.
    pub token: u32,
    /// The natural logarithm of its probability.
    pub logprob: f32,
}

/// The probability of a token, and of the most likely ones in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// Of the token itself.
    pub logprob: f32,
    /// The most likely tokens, the first one the likeliest.
    pub top: Vec<Logprob>,
}

/// The logarithm by which all logits must be lowered to become those of probabilities.
pub(super) fn log_sum(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits
        .iter()
        .map(|logit| f64::from(logit - max).exp())
        .sum();
    f64::from(max) + sum.ln()
}

/// The `n` most likely tokens, of equally likely ones those with lower ids.
pub(super) fn top(logits: &[f32], n: usize, log_sum: f64) -> Vec<Logprob> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let order = |a: &u32, b: &u32| {
        let (x, y) = (logits[*a as usize], logits[*b as usize]);
        y.total_cmp(&x).then(a.cmp(b))
    };
    let n = n.min(ids.len());
    if n == 0 {
        return Vec::new();
    }
    ids.select_nth_unstable_by(n - 1, order);
    ids.truncate(n);
    ids.sort_by(order);
    let logprob = |token: &u32| Logprob {
        token: *token,
        logprob: (f64::from(logits[*token as usize]) - log_sum) as f32,
    };
    ids.iter().map(logprob).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_to_one() {
        let logits = [1.0, 3.0, -2.0, 3.0, f32::NEG_INFINITY];
        let sum = log_sum(&logits);
        let top = top(&logits, 5, sum);
        let ids: Vec<u32> = top.iter().map(|t| t.token).collect();
        assert_eq!(ids, [1, 3, 0, 2, 4]);
        let total: f64 = top.iter().map(|t| f64::from(t.logprob).exp()).sum();
        assert!((total - 1.0).abs() < 1e-6, "{total}");
    }
}
