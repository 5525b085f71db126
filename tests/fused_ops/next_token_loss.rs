use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Int, Tensor, TensorData};
use burn_gpt_oss::ops::next_token_loss;

use crate::reference::{
    DTYPES, assert_close, assert_same_on_threads, assert_slope, device, exact, sample, unit, values,
};

/// What the gradient of the loss is: not 1, so that it must be used.
const UPSTREAM: f64 = 0.375;

struct Case {
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    row_weights: Tensor<1>,
}

impl Case {
    /// Targets at both ends of the vocabulary and between; weights that differ, with a zero.
    fn new([rows, width, vocabulary]: [usize; 3], scale: f32, dtype: DType) -> Self {
        let target = |row: usize| match row % 3 {
            0 => vocabulary - 1,
            1 => 0,
            _ => row * 31 % vocabulary,
        };
        let targets: Vec<i32> = (0..rows).map(|row| target(row) as i32).collect();
        let weights: Vec<f32> = (0..rows).map(|row| ((row + 1) % 5) as f32 / 4.0).collect();
        let weights = TensorData::new(weights, [rows]);
        Self {
            hidden: sample([rows, width], scale, dtype).require_grad(),
            weight: sample([width, vocabulary], 1.0, dtype).require_grad(),
            targets: Tensor::from_data(TensorData::new(targets, [rows]), &device()),
            row_weights: Tensor::from_data(weights, (&device(), DType::F32)),
        }
    }

    fn loss(&self, hidden: Tensor<2>, weight: Tensor<2>) -> Tensor<1> {
        let (targets, row_weights) = (self.targets.clone(), self.row_weights.clone());
        next_token_loss(hidden, weight, targets, row_weights)
    }

    /// All logits at once.
    fn plain_loss(&self, hidden: Tensor<2>, weight: Tensor<2>) -> Tensor<1> {
        let [rows, _] = hidden.dims();
        let targets = self.targets.clone().reshape([rows, 1]);
        let likelihood = log_softmax(hidden.matmul(weight), 1).gather(1, targets);
        let nll = likelihood.reshape([rows]).neg();
        (nll * self.row_weights.clone().cast(DType::F64)).sum()
    }

    /// Largest sum of magnitudes behind a logit: what rounding of the products is relative to.
    fn logit_scale(&self) -> f64 {
        let [hidden, weight] = [&self.hidden, &self.weight].map(|x| exact(x).abs());
        values(&hidden.matmul(weight).max())[0]
    }

    /// Compares loss and gradients with those of the plain loss in float64.
    ///
    /// A logit is off by at most `width` roundings of its scale, and so is the exponent behind a
    /// probability; a gradient sums over rows or vocabulary, with as many roundings at most, and is
    /// rounded to its dtype at last.
    fn check(&self, what: &str) {
        let (hidden, weight) = (exact(&self.hidden), exact(&self.weight));
        let wanted = self.plain_loss(hidden.clone(), weight.clone());
        let found = self.loss(self.hidden.clone(), self.weight.clone());
        assert_eq!(found.dtype(), DType::F32, "{what}: dtype of the loss");
        let [width, vocabulary] = self.weight.dims();
        let float32 = unit(DType::F32);
        let logits = width as f64 * float32 * self.logit_scale();
        let total: f64 = values(&self.row_weights).iter().sum();
        let deviation = (values(&found)[0] - values(&wanted)[0]).abs();
        let limit = 2.0 * total * logits + 4.0 * float32 * values(&wanted)[0].abs();
        assert!(deviation <= limit, "{what}: loss {deviation:e} {limit:e}");

        let grads = (found * UPSTREAM).backward();
        let wanted = (wanted * UPSTREAM).backward();
        let sums = (vocabulary + self.hidden.dims()[0] + 4) as f64 * float32;
        let dtype = self.hidden.dtype();
        let limit = 2.0 * logits + sums + unit(dtype);
        for (name, x, exact) in [
            ("hidden", &self.hidden, &hidden),
            ("weight", &self.weight, &weight),
        ] {
            let gradient = x.grad(&grads).unwrap();
            assert_eq!(gradient.dtype(), dtype, "{what}: dtype of the gradient");
            let wanted = exact.grad(&wanted).unwrap();
            assert_close(&format!("{what}, {name}"), &gradient, &wanted, limit);
        }
    }
}

#[test]
fn equals_the_plain_loss_in_every_shape() {
    for shape in [
        [1, 8, 33],
        [1, 1, 1],
        [7, 5, 2],
        [64, 24, 100],
        [33, 16, 64],
    ] {
        for dtype in DTYPES {
            Case::new(shape, 1.0, dtype).check(&format!("{shape:?} {dtype:?}"));
        }
    }
}

/// 2 chunks of 76 and 75 rows, no multiple of anything.
#[test]
fn equals_the_plain_loss_over_several_chunks() {
    for dtype in DTYPES {
        Case::new([151, 3, 40_003], 1.0, dtype).check(&format!("{dtype:?}"));
    }
}

#[test]
fn survives_large_logits() {
    let case = Case::new([9, 16, 50], 1e4, DType::F32);
    assert!(case.logit_scale() > 1e4, "far beyond what `exp` takes");
    case.check("large logits");
}

#[test]
fn is_zero_without_rows() {
    let case = Case::new([0, 4, 10], 1.0, DType::F32);
    let loss = case.loss(case.hidden.clone(), case.weight.clone());
    assert_eq!(values(&loss), [0.0]);
    let gradient = case.weight.grad(&loss.backward()).unwrap();
    assert!(values(&gradient).iter().all(|x| *x == 0.0));
}

/// The gradients of one side are those without the other.
#[test]
fn takes_frozen_inputs() {
    let case = Case::new([12, 8, 40], 1.0, DType::F32);
    let both = case
        .loss(case.hidden.clone(), case.weight.clone())
        .backward();
    let frozen = |x: &Tensor<2>| x.clone().detach();
    let head_frozen = case
        .loss(case.hidden.clone(), frozen(&case.weight))
        .backward();
    let body_frozen = case
        .loss(frozen(&case.hidden), case.weight.clone())
        .backward();
    let of = |x: &Tensor<2>, grads| values(&x.grad(grads).unwrap());
    assert_eq!(of(&case.hidden, &head_frozen), of(&case.hidden, &both));
    assert_eq!(of(&case.weight, &body_frozen), of(&case.weight, &both));
    let untracked = case.loss(frozen(&case.hidden), frozen(&case.weight));
    let tracked = case.loss(case.hidden.clone(), case.weight.clone());
    assert_eq!(values(&untracked), values(&tracked));
}

/// A tied head is the embedding's transpose, which is never copied.
#[test]
fn takes_a_transposed_head() {
    for dtype in DTYPES {
        let case = Case::new([10, 6, 21], 1.0, dtype);
        let turned = case.weight.clone().detach().swap_dims(0, 1);
        let data = turned.into_data();
        let rows = Tensor::<2>::from_data(data, (&device(), dtype)).require_grad();
        let found = case.loss(case.hidden.clone(), rows.clone().swap_dims(0, 1));
        let wanted = case.loss(case.hidden.clone(), case.weight.clone());
        let limit = 8.0 * unit(DType::F32);
        assert_close(&format!("{dtype:?}"), &found, &wanted, limit);
        let found = rows.grad(&found.backward()).unwrap().swap_dims(0, 1);
        let wanted = case.weight.grad(&wanted.backward()).unwrap();
        let limit = 32.0 * unit(DType::F32) + 2.0 * unit(dtype);
        assert_close(&format!("{dtype:?}"), &found, &wanted, limit);
    }
}

#[test]
fn gradients_are_slopes() {
    let case = Case::new([5, 6, 17], 1.0, DType::F32);
    assert_slope("hidden", &case.hidden, |x| {
        case.loss(x, case.weight.clone())
    });
    assert_slope("weight", &case.weight, |x| {
        case.loss(case.hidden.clone(), x)
    });
}

#[test]
fn does_not_depend_on_threads() {
    let case = Case::new([200, 64, 1000], 1.0, DType::F32);
    assert_same_on_threads("loss", || {
        let loss = case.loss(case.hidden.clone(), case.weight.clone());
        let grads = loss.clone().backward();
        let gradients = [&case.hidden, &case.weight].map(|x| values(&x.grad(&grads).unwrap()));
        let mut all = vec![values(&loss)];
        all.extend(gradients);
        all
    });
}

#[test]
#[should_panic(expected = "not in the vocabulary")]
fn refuses_a_target_outside_of_the_vocabulary() {
    let case = Case::new([2, 4, 10], 1.0, DType::F32);
    let weight = case.weight.clone().narrow(1, 0, 9);
    case.loss(case.hidden.clone(), weight);
}
