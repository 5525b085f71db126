use burn::tensor::{Int, Tensor, TensorData};
use burn_gpt_oss::{GptOss, KvCache};

use crate::model::{device, values};
use crate::{sequence, stored, tiny, unequal_prompts};

/// The bar of the project: cached equals uncached.
const LOGITS: f32 = 1e-5;

fn ids(rows: &[&[u32]]) -> Tensor<2, Int> {
    let values: Vec<i32> = rows.concat().into_iter().map(|id| id as i32).collect();
    Tensor::from_data(
        TensorData::new(values, [rows.len(), rows[0].len()]),
        &device(),
    )
}

/// Logits of all tokens, seen in parts.
fn in_parts(model: &GptOss, tokens: &[u32], parts: &[usize]) -> Vec<f32> {
    let mut cache = KvCache::new(model.config(), vec![0]);
    let mut start = 0;
    let mut logits = Vec::new();
    for len in parts {
        let hidden = model.forward_cached(ids(&[&tokens[start..start + len]]), &mut cache);
        logits.extend(values(&model.logits(hidden)));
        start += len;
        assert_eq!((cache.n_columns(), cache.n_tokens(0)), (start, start));
    }
    assert_eq!(start, tokens.len());
    logits
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn cached_logits_equal_uncached_ones() {
    check(
        &tiny(),
        &sequence(),
        &[
            vec![60],
            vec![1; 60],
            [vec![20], vec![1; 40]].concat(),
            vec![7, 9, 1, 1, 15, 16, 1, 10],
            vec![16, 17, 27],
            vec![15, 1, 1, 2, 41],
        ],
    );
}

/// So few tokens that all products are those of stored matrices; 24 are more than a window. With more,
/// the whole sequence would go through decoded tiles, whose sums have another order.
#[test]
fn cached_logits_of_stored_matrices_equal_uncached_ones() {
    let tokens = &sequence()[..24];
    check(
        &stored(),
        tokens,
        &[
            vec![24],
            vec![1; 24],
            vec![16, 8],
            vec![7, 9, 1, 1, 6],
            vec![15, 1, 1, 7],
        ],
    );
}

fn check(model: &GptOss, tokens: &[u32], all_parts: &[Vec<usize>]) {
    let whole = values(&model.forward(ids(&[tokens]), None));
    for parts in all_parts {
        let found = in_parts(model, tokens, parts);
        let difference = largest_difference(&found, &whole);
        println!("{parts:?}: {difference:e}");
        assert!(difference <= LOGITS, "{parts:?}: {difference:e}");
    }
}

#[test]
fn padding_in_front_changes_nothing() {
    let model = tiny();
    let prompts = unequal_prompts();
    let longest = prompts.iter().map(Vec::len).max().expect("prompts");
    let padding: Vec<usize> = prompts
        .iter()
        .map(|prompt| longest - prompt.len())
        .collect();
    let padded = prompts
        .iter()
        .zip(&padding)
        .map(|(prompt, n)| [vec![3; *n], prompt.clone()].concat());
    let padded: Vec<Vec<u32>> = padded.collect();
    let mut cache = KvCache::new(model.config(), padding.clone());
    let mut logits = Vec::new();
    for part in [0..12, 12..13, 13..14, 14..30, 30..31, 31..longest] {
        let rows: Vec<&[u32]> = padded.iter().map(|row| &row[part.clone()]).collect();
        let hidden = model.forward_cached(ids(&rows), &mut cache);
        logits.push(model.logits(hidden));
    }
    let logits = Tensor::cat(logits, 1);
    for (row, (prompt, padding)) in prompts.iter().zip(&padding).enumerate() {
        assert_eq!(cache.n_tokens(row), prompt.len());
        let found = logits
            .clone()
            .narrow(0, row, 1)
            .narrow(1, *padding, prompt.len());
        let alone = model.forward(ids(&[prompt]), None);
        let difference = largest_difference(&values(&found), &values(&alone));
        assert!(difference <= LOGITS, "prompt {row}: {difference:e}");
    }
}

#[test]
fn selected_rows_go_on_where_they_were() {
    let model = tiny();
    let tokens = sequence();
    let (a, b) = (&tokens[..20], &tokens[20..40]);
    let mut cache = KvCache::new(model.config(), vec![0, 0]);
    model.forward_cached(ids(&[a, b]), &mut cache);
    let shared = cache.clone();
    cache.select_rows(&[1, 0, 1], &device());
    let next: [&[u32]; 3] = [&tokens[40..44], &tokens[44..48], &tokens[48..52]];
    let logits = model.logits(model.forward_cached(ids(&next), &mut cache));
    assert_eq!(shared.n_columns(), 20, "a clone goes its own way");
    for (row, (before, after)) in [b, a, b].into_iter().zip(next).enumerate() {
        let whole = model.forward(ids(&[&[before, after].concat()]), None);
        let found = values(&logits.clone().narrow(0, row, 1));
        let difference = largest_difference(&found, &values(&whole.narrow(1, 20, 4)));
        assert!(difference <= LOGITS, "row {row}: {difference:e}");
    }
}

#[test]
fn a_sliding_layer_keeps_one_window() {
    let model = tiny();
    let config = model.config();
    let mut cache = KvCache::new(config, vec![0]);
    let tokens = [sequence(), sequence(), sequence(), sequence(), sequence()].concat();
    let per_slot = 2 * config.num_key_value_heads * config.head_dim * size_of::<f32>();
    for (n, full_slots) in [(256, 256), (1, 512), (43, 512)] {
        model.forward_cached(ids(&[&tokens[..n]]), &mut cache);
        // Two layers of each kind.
        let slots = 2 * config.sliding_window + 2 * full_slots;
        assert_eq!(cache.n_bytes(), slots * per_slot, "{n} more tokens");
    }
}
