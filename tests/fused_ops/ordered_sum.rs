use burn::tensor::{Tensor, TensorData};
use burn_gpt_oss::ops::ordered_sum;

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
