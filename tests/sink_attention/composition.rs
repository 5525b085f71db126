//! The operation against the same from plain tensor operations.

use burn::tensor::{Bool, Device, Int, Tensor};

use crate::case::{Case, NAMES, assert_close};

/// Scores of hidden keys; far below any real score, yet finite so that no `inf - inf` can arise.
const HIDDEN: f32 = -1e30;

/// Sums of up to some hundred rounded terms, added in different orders by both sides, of values of
/// which the largest are compared with: a hundred units in the last place of float32, 2^-24 each.
const LIMIT: f64 = 6e-6;

impl Case {
    /// True = hidden, `[batch, 1, len, keys]`
    fn hidden(&self, device: &Device) -> Tensor<4, Bool> {
        let (batch, len, keys) = (self.batch, self.len, self.keys);
        let first = self.first_query as i64;
        let all = [batch, 1, len, keys];
        let query = Tensor::<1, Int>::arange(first..first + len as i64, device);
        let key = Tensor::<1, Int>::arange(0..keys as i64, device).reshape([1, 1, 1, keys]);
        let distance = query.reshape([1, 1, len, 1]) - key;
        let mut hidden = distance.clone().lower_scalar(0).expand(all);
        if let Some(window) = self.window {
            let far = distance.greater_equal_scalar(window as i64);
            hidden = hidden.bool_or(far.expand(all));
        }
        if let Some(real) = self.real(device) {
            let padding = real.bool_not().reshape([batch, 1, 1, keys]);
            hidden = hidden.bool_or(padding.expand(all));
        }
        if let Some(documents) = self.documents(device) {
            let own = documents.clone().narrow(1, self.first_query, len);
            let own = own.reshape([batch, 1, len, 1]).expand(all);
            let other = documents.reshape([batch, 1, 1, keys]).expand(all);
            hidden = hidden.bool_or(own.not_equal(other));
        }
        hidden
    }

    /// The definition, `O(len * keys)` memory.
    fn compose(
        &self,
        query: Tensor<4>,
        key: Tensor<4>,
        value: Tensor<4>,
        sinks: Tensor<1>,
    ) -> Tensor<4> {
        let (batch, len, keys) = (self.batch, self.len, self.keys);
        let (heads, kv_heads, dim) = (self.heads, self.kv_heads, self.dim);
        let rows = heads / kv_heads * len;
        let query = query.swap_dims(1, 2) * self.scale();
        let query = query.reshape([batch, kv_heads, rows, dim]);
        let (key, value) = (key.swap_dims(1, 2), value.swap_dims(1, 2));
        let all = [batch, heads, len, keys];
        let scores = query.matmul(key.swap_dims(2, 3)).reshape(all);
        let hidden = self.hidden(&scores.device()).expand(all);
        let scores = scores.mask_fill(hidden, HIDDEN);
        let sink = sinks
            .reshape([1, heads, 1, 1])
            .expand([batch, heads, len, 1]);
        let shift = scores.clone().max_dim(3).max_pair(sink.clone()).detach();
        let weights = (scores - shift.clone()).exp();
        let total = weights.clone().sum_dim(3) + (sink - shift).exp();
        let weights = (weights / total).reshape([batch, kv_heads, rows, keys]);
        let mixed = weights.matmul(value).reshape([batch, heads, len, dim]);
        mixed.swap_dims(1, 2)
    }

    fn assert_like_the_composition(&self, device: &Device) {
        let tensors = self.tensors(device);
        let found = self.run(&tensors);
        let expected =
            tensors.results(|query, key, value, sinks| self.compose(query, key, value, sinks));
        let name = self.name;
        assert_close(name, &found.output, &expected.output, LIMIT);
        for (i, what) in NAMES.into_iter().enumerate() {
            let what = format!("{name}, gradient of {what}");
            assert_close(&what, &found.gradients[i], &expected.gradients[i], LIMIT);
        }
    }
}

fn devices() -> [Device; 2] {
    let device = Device::flex().autodiff();
    [device.clone(), device.gradient_checkpointing()]
}

#[test]
fn windows_and_lengths() {
    for device in devices() {
        for case in [
            Case::new("one token", 2, 1, None),
            Case::new("one token, window", 2, 1, Some(128)),
            Case::new("shorter than a tile", 2, 37, None),
            Case::new("several tiles", 2, 150, None),
            Case::new("whole tiles", 1, 128, None),
            Case::new("one more than a tile of keys", 1, 65, None),
            Case::new("window of one", 2, 70, Some(1)),
            Case::new("window of two", 2, 70, Some(2)),
            Case::new("window within a tile", 2, 150, Some(20)),
            Case::new("window of a tile", 1, 200, Some(64)),
            Case::new("window over tiles", 1, 300, Some(130)),
            Case::new("window as long as the sequence", 2, 70, Some(70)),
            Case::new("window larger than the sequence", 2, 70, Some(1000)),
        ] {
            case.assert_like_the_composition(&device);
        }
    }
}

#[test]
fn heads_and_widths() {
    let device = Device::flex().autodiff();
    let case = |name| Case::new(name, 2, 90, Some(50));
    for case in [
        case("a key head per query head").heads(3, 3),
        case("one key head").heads(8, 1),
        case("one head").heads(1, 1),
        case("groups of three").heads(6, 2),
        case("more heads than rows in a tile").heads(130, 1).dim(2),
        case("width of one").dim(1),
        case("odd width").dim(7),
        case("width of the model").dim(64),
    ] {
        case.assert_like_the_composition(&device);
    }
}

#[test]
fn padding_and_documents() {
    let device = Device::flex().autodiff();
    for window in [None, Some(1), Some(9), Some(70)] {
        let case = |name| Case::new(name, 2, 140, window);
        let lengths: [&[usize]; 2] = [&[1, 5, 64, 60, 10], &[139, 1]];
        for case in [
            case("right padding").padded(&[[0, 30], [0, 139]]),
            case("left padding").padded(&[[30, 0], [139, 0]]),
            case("both sides").padded(&[[10, 20], [65, 0]]),
            case("nothing but padding").padded(&[[140, 0], [0, 0]]),
            case("documents").packed(&lengths),
            case("padded documents")
                .packed(&lengths)
                .padded(&[[3, 10], [0, 70]]),
        ] {
            case.assert_like_the_composition(&device);
        }
    }
}

#[test]
fn documents_need_not_lie_together() {
    let mut case = Case::new("alternating documents", 2, 140, None);
    let row = (0..140).map(|i| i / 3 % 4);
    case.documents = Some(vec![row.clone().rev().collect(), row.collect()]);
    case.assert_like_the_composition(&Device::flex().autodiff());
}

#[test]
fn queries_behind_cached_keys() {
    let device = Device::flex().autodiff();
    for window in [None, Some(20), Some(500)] {
        let case = |name, len| Case::new(name, 2, len, window);
        let documents: [&[usize]; 2] = [&[60, 40, 57], &[157]];
        for case in [
            case("one query", 1).cached(156, 157),
            case("one query, long cache", 1).cached(100, 157),
            case("many queries", 70).cached(87, 157),
            case("keys behind the queries", 40).cached(50, 157),
            case("padded cache", 70)
                .cached(87, 157)
                .padded(&[[90, 0], [0, 20]]),
            case("cached documents", 70)
                .cached(87, 157)
                .packed(&documents),
        ] {
            case.assert_like_the_composition(&device);
        }
    }
}

#[test]
fn large_scores_do_not_overflow() {
    for spread in [10.0, 100.0] {
        let case = Case {
            spread,
            ..Case::new("large scores", 1, 100, Some(70))
        };
        let device = Device::flex().autodiff();
        let tensors = case.tensors(&device);
        let found = case.run(&tensors);
        let all = found.gradients.iter().flatten().chain(&found.output);
        assert!(all.into_iter().all(|x| x.is_finite()));
        // A score is as inexact as its size, and so is the logarithm of a weight.
        let size = f64::from(spread * spread) * 4.0 * case.dim as f64 * case.scale();
        let expected =
            tensors.results(|query, key, value, sinks| case.compose(query, key, value, sinks));
        let limit = size * 2f64.powi(-22);
        assert_close("large scores", &found.output, &expected.output, limit);
    }
}
