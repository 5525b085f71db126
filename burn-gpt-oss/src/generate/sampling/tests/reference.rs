//! The same choice written down without regard to speed, with a ChaCha8 of its own.

use super::Sampling;

pub(super) struct Reference {
    seed: u64,
    stream: u64,
    words: Vec<u32>,
    blocks: u64,
}

impl Reference {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self {
            seed,
            stream,
            words: Vec::new(),
            blocks: 0,
        }
    }

    fn word(&mut self) -> u32 {
        if self.words.is_empty() {
            self.words = chacha8(self.seed, self.stream, self.blocks);
            self.words.reverse();
            self.blocks += 1;
        }
        self.words.pop().unwrap()
    }

    fn uniform(&mut self) -> f64 {
        let low = u64::from(self.word());
        let high = u64::from(self.word());
        ((high << 32 | low) >> 11) as f64 * 2_f64.powi(-53)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.uniform() * limit as f64) as usize
    }

    pub(super) fn choose(&mut self, sampling: &Sampling, logits: &[f32], context: &[u32]) -> u32 {
        let mut tokens = penalized(logits, context, sampling.repetition_penalty);
        tokens.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        if sampling.temperature == 0.0 {
            return tokens[0].0;
        }
        if sampling.top_k > 0 && sampling.top_k < tokens.len() {
            let last = tokens[sampling.top_k - 1].1;
            tokens.retain(|token| token.1 >= last);
        }
        let max = tokens[0].1;
        for token in &mut tokens {
            token.1 = ((token.1 - max) / f64::from(sampling.temperature)).exp();
        }
        tokens.truncate(nucleus(&tokens, f64::from(sampling.top_p)));
        tokens.retain(|token| token.1 >= f64::from(sampling.min_p));
        tokens.sort_by_key(|token| token.0);
        let mut point = self.uniform() * total(&tokens);
        for token in &tokens {
            point -= token.1;
            if point < 0.0 {
                return token.0;
            }
        }
        tokens[tokens.len() - 1].0
    }
}

fn penalized(logits: &[f32], context: &[u32], penalty: f32) -> Vec<(u32, f64)> {
    let penalize = |(id, &logit): (u32, &f32)| match context.contains(&id) {
        true if logit > 0.0 => (id, f64::from(logit / penalty)),
        true => (id, f64::from(logit * penalty)),
        false => (id, f64::from(logit)),
    };
    (0..).zip(logits).map(penalize).collect()
}

/// How many of the tokens, likelier ones first, reach a share of the whole.
fn nucleus(tokens: &[(u32, f64)], share: f64) -> usize {
    if share == 1.0 {
        return tokens.len();
    }
    let mass = share * total(tokens);
    let mut reached = 0.0;
    for (i, token) in tokens.iter().enumerate() {
        reached += token.1;
        if reached >= mass {
            return i + 1;
        }
    }
    tokens.len()
}

fn total(tokens: &[(u32, f64)]) -> f64 {
    tokens.iter().map(|token| token.1).sum()
}

/// A block of ChaCha (Bernstein 2008) with 8 rounds, 64 bits of counter and 64 of the stream's number.
fn chacha8(seed: u64, stream: u64, block: u64) -> Vec<u32> {
    let halves = |number: u64| [number as u32, (number >> 32) as u32];
    let constant = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
    let mut input = [0; 16];
    input[..4].copy_from_slice(&constant);
    input[4..6].copy_from_slice(&halves(seed));
    input[12..14].copy_from_slice(&halves(block));
    input[14..].copy_from_slice(&halves(stream));
    let mut state = input;
    for _ in 0..4 {
        for column in 0..4 {
            quarter_round(&mut state, [0, 4, 8, 12].map(|row| row + column));
        }
        for column in 0..4 {
            let diagonal = [0, 1, 2, 3].map(|row| row * 4 + (column + row) % 4);
            quarter_round(&mut state, diagonal);
        }
    }
    let words = state.iter().zip(input);
    words
        .map(|(word, input)| word.wrapping_add(input))
        .collect()
}

fn quarter_round(state: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    for (sum, added, mixed, bits) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
        state[sum] = state[sum].wrapping_add(state[added]);
        state[mixed] = (state[mixed] ^ state[sum]).rotate_left(bits);
    }
}
