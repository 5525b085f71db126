//! Every instruction set of this processor against sums in `f64`.

use super::*;

/// Half the distance of float32 numbers from 1.
const EPSILON: f64 = 1.0 / (1 << 24) as f64;

fn values(n: usize, mut state: u32) -> Vec<f32> {
    let values = (0..n).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    });
    values.collect()
}

type Run = fn(&[f32], &[bf16], usize, &mut [f32]);

/// The product with every instruction set of this processor.
fn runs() -> Vec<Run> {
    let portable: Run = |x, weight, d_input, out| {
        multiply(Portable, x, weight, d_input, out);
    };
    let mut runs = vec![bf16_product, portable];
    #[cfg(target_arch = "x86_64")]
    runs.push(|x, weight, d_input, out| match Avx2::detect() {
        Some(lanes) => multiply(lanes, x, weight, d_input, out),
        None => bf16_product(x, weight, d_input, out),
    });
    runs
}

#[test]
fn sums_are_those_of_f64_up_to_rounding() {
    for (run, d_input) in runs().into_iter().flat_map(|run| {
        let widths = [1, 15, 16, 33, 64, 100, 2880];
        widths.into_iter().map(move |width| (run, width))
    }) {
        let weight: Vec<bf16> = values(5 * d_input, 9)
            .into_iter()
            .map(bf16::from_f32)
            .collect();
        for n_rows in 1..=17 {
            let x = values(n_rows * d_input, n_rows as u32);
            let mut out = vec![7.0; n_rows * 5];
            run(&x, &weight, d_input, &mut out);
            for (i, found) in out.into_iter().enumerate() {
                let row = &x[i / 5 * d_input..][..d_input];
                let products = row.iter().zip(&weight[i % 5 * d_input..][..d_input]);
                let products = products.map(|(x, w)| f64::from(*x) * f64::from(w.to_f32()));
                let [sum, size] = products.fold([0.0, 0.0], |[sum, size], product: f64| {
                    [sum + product, size + product.abs()]
                });
                let bound = (d_input + 1) as f64 * EPSILON * size;
                assert!((f64::from(found) - sum).abs() <= bound, "{found} {sum}");
            }
        }
    }
}

#[test]
fn values_that_are_not_finite_are_not_lost() {
    let weight = [bf16::ONE; 2 * 80];
    for bad in [f32::NAN, f32::INFINITY] {
        let mut x = [1.0; 2 * 80];
        x[80 + 70] = bad;
        let mut out = [0.0; 4];
        bf16_product(&x, &weight, 80, &mut out);
        assert_eq!(out[..2], [80.0; 2]);
        assert!(out[2..].iter().all(|x| !x.is_finite()));
    }
}

#[test]
fn empty_products() {
    bf16_product(&[], &[bf16::ONE; 8], 4, &mut []);
    bf16_product(&[1.0; 4], &[], 4, &mut []);
}
