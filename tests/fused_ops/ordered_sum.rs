use burn::tensor::{Tensor, TensorData};
use burn_gpt_oss::ops::{ordered_sum, ordered_sum_of_squares};

use crate::reference::{device, values};

/// One element, few, one more than few, several levels with and without a rest.
const LENGTHS: [usize; 6] = [1, 63, 1024, 1025, 65 * 1024, 201_088];

#[test]
fn sums_are_those_of_all_elements() {
    for len in LENGTHS {
        let terms: Vec<f32> = (0..len).map(|i| (i * 7919 % 1009) as f32 / 64.0).collect();
        let expected: f64 = terms.iter().map(|x| f64::from(*x)).sum();
        let magnitude = expected.max(1.0);
        let x = Tensor::<1>::from_data(TensorData::new(terms, [len]), &device()).require_grad();
        let sum = ordered_sum(x.clone());
        assert_eq!(sum.dims(), [1], "{len} elements");
        let off = (values(&sum)[0] - expected).abs() / magnitude;
        // At most three levels of 64 terms, and 1024 at the end.
        assert!(
            off < 1300.0 * 2f64.powi(-24),
            "{len} elements: off by {off:e}"
        );
        let grads = x.grad(&sum.backward()).unwrap();
        assert!(
            values(&grads).iter().all(|grad| *grad == 1.0),
            "{len} elements: gradient"
        );
    }
}

#[test]
fn axes_do_not_matter() {
    let data = TensorData::new(
        (0..2 * 33 * 70).map(|i| i as f32).collect::<Vec<_>>(),
        [2, 33, 70],
    );
    let x = Tensor::<3>::from_data(data, &device());
    // Whole numbers below 2^24 are exact in any order.
    let n = (2 * 33 * 70) as f64;
    assert_eq!(values(&ordered_sum(x)), [n * (n - 1.0) / 2.0]);
}

/// More than one part, with a last one that is shorter and elements that are left.
#[test]
fn squares_are_summed_as_if_they_were_there() {
    for len in [1, 1025, 64 * (1 << 18), 64 * (1 << 18) + 63 + 64 * 1000] {
        let values_of = (0..len).map(|i: usize| (i * 7919 % 10_007) as f32 / 3.0 - 1000.0);
        let data = TensorData::new(values_of.collect::<Vec<f32>>(), [len]);
        let x = Tensor::<1>::from_data(data, &device().inner());
        let [whole, parts] = [ordered_sum(x.clone().square()), ordered_sum_of_squares(x)];
        assert_eq!(
            values(&whole)[0].to_bits(),
            values(&parts)[0].to_bits(),
            "{len} elements"
        );
    }
}
