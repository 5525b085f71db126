//! Every instruction set of this processor against sums in `f64`.

use super::*;
use crate::codec::e2m1;
use crate::codec::e4m3;
use crate::codec::e8m0;
use crate::error::Fp4Error;
use crate::scheme::Fp4Scheme;

/// Half the distance of `f32` numbers from 1.
const EPSILON: f64 = 1.0 / (1 << 24) as f64;

/// Far below what any sum of the tests needs, above what is lost where `f32` gets subnormal.
const TINY: f64 = 1e-41;

const SCHEMES: [Fp4Scheme; 3] = [
    Fp4Scheme::mxfp4(),
    Fp4Scheme::nvfp4(),
    Fp4Scheme::nvfp4_block32(),
];

/// Bytes of a matrix, and what they mean.
struct Weight {
    scheme: Fp4Scheme,
    shape: [usize; 2],
    codes: Vec<u8>,
    scales: Vec<u8>,
    global_scale: f32,
}

impl Weight {
    /// Codes from a generator, scale bytes from a function of their index.
    fn new(scheme: Fp4Scheme, shape: [usize; 2], scale: impl Fn(usize) -> u8) -> Self {
        let n = shape[0] * shape[1];
        let mut random = Random(7);
        Self {
            scheme,
            shape,
            codes: (0..n / 2).map(|_| random.next() as u8).collect(),
            scales: (0..n / scheme.block_size()).map(scale).collect(),
            global_scale: if scheme == Fp4Scheme::mxfp4() {
                1.0
            } else {
                0.37
            },
        }
    }

    /// With scale bytes of everyday.
    fn usual(scheme: Fp4Scheme, shape: [usize; 2]) -> Self {
        let first = if scheme == Fp4Scheme::mxfp4() {
            116
        } else {
            40
        };
        Self::new(scheme, shape, |i| first + (i * 7 % 13) as u8)
    }

    fn matrix(&self) -> PackedMatrix<'_> {
        let (codes, scales) = (&self.codes, &self.scales);
        PackedMatrix::new(self.scheme, self.shape, codes, scales, self.global_scale).unwrap()
    }

    /// Element `[output, i]`, which no rounding has touched.
    fn value(&self, output: usize, i: usize) -> f64 {
        let at = output * self.shape[1] + i;
        let code = e2m1::decode(self.codes[at / 2] >> (4 * (at % 2)));
        let byte = self.scales[at / self.scheme.block_size()];
        let scale = match self.scheme {
            Fp4Scheme::Mxfp4 { .. } => e8m0::decode(byte),
            Fp4Scheme::Nvfp4 { .. } => e4m3::decode(byte),
        };
        f64::from(code) * f64::from(scale) * f64::from(self.global_scale)
    }

    /// The sum of products with a row, and the sum of their magnitudes.
    fn sums(&self, output: usize, row: &[f64]) -> [f64; 2] {
        let products = row
            .iter()
            .enumerate()
            .map(|(i, x)| x * self.value(output, i));
        products.fold([0.0, 0.0], |[sum, size], product| {
            [sum + product, size + product.abs()]
        })
    }
}

/// A linear congruential generator (Knuth, MMIX).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    fn values(&mut self, n: usize) -> Vec<f32> {
        let values = (0..n).map(|_| self.next() as f32 / u32::MAX as f32 - 0.5);
        values.collect()
    }
}

/// Multiplies in two parts, and compares with sums in `f64`.
fn check(weight: &Weight, values: &[f32]) {
    let [d_output, d_input] = weight.shape;
    let matrix = weight.matrix();
    let exact: Vec<f64> = values.iter().map(|&x| f64::from(x)).collect();
    for rows in ProductRows::all(values, d_input) {
        let values = &exact;
        let split = d_output / 3;
        for outputs in [0..split, split..d_output] {
            let mut out = vec![7.0; rows.n_rows() * outputs.len()];
            packed_product(&rows, &matrix, outputs.clone(), &mut out);
            for (i, &found) in out.iter().enumerate() {
                let (row, output) = (i / outputs.len(), outputs.start + i % outputs.len());
                let row = &values[row * d_input..][..d_input];
                let [sum, size] = weight.sums(output, row);
                let error = (f64::from(found) - sum).abs();
                // One rounding for a product and two for its scales; fewer than `d_input` for the sum.
                let bound = (d_input + 4) as f64 * EPSILON * size + TINY;
                assert!(
                    error <= bound || (found.is_nan() && sum.is_nan()),
                    "{found} {sum}"
                );
            }
        }
    }
}

#[test]
fn all_formats_numbers_of_rows_and_widths() {
    for scheme in SCHEMES {
        for d_input in [32, 64, 96, 160, 2880] {
            let weight = Weight::usual(scheme, [7, d_input]);
            for n_rows in 1..=17 {
                check(&weight, &Random(n_rows as u64).values(n_rows * d_input));
            }
        }
    }
}

#[test]
fn half_a_block_of_integers() {
    let weight = Weight::usual(Fp4Scheme::nvfp4(), [5, 48]);
    check(&weight, &Random(1).values(3 * 48));
}

/// Every byte in every place of an output of four blocks.
#[test]
fn every_scale_byte() {
    for scheme in SCHEMES {
        let d_input = 4 * scheme.block_size();
        for neighbour in [0, 56, 120] {
            let scale = |i: usize| {
                let (output, place) = (i / 4, i % 4);
                if place == output % 4 {
                    (output / 4) as u8
                } else {
                    neighbour
                }
            };
            let weight = Weight::new(scheme, [4 * 256, d_input], scale);
            // Small, so that no sum is above what `f32` can hold.
            let values = Random(3).values(2 * d_input);
            check(
                &weight,
                &values.iter().map(|x| x * 1e-2).collect::<Vec<_>>(),
            );
        }
    }
}

#[test]
fn a_scale_byte_that_means_nan_makes_its_output_nan() {
    for (scheme, nans) in SCHEMES
        .into_iter()
        .zip([&[255][..], &[127, 255], &[127, 255]])
    {
        for &nan in nans {
            let mut weight = Weight::usual(scheme, [6, 160]);
            let per_row = 160 / scheme.block_size();
            weight.scales[3 * per_row + per_row - 1] = nan;
            for rows in ProductRows::all(&[0.0; 5 * 160], 160) {
                let mut out = [0.0; 5 * 6];
                packed_product(&rows, &weight.matrix(), 0..6, &mut out);
                for (i, x) in out.iter().enumerate() {
                    assert_eq!(x.is_nan(), i % 6 == 3, "{i}: {x}");
                }
            }
        }
    }
}

#[test]
fn values_that_are_not_finite_are_not_lost() {
    let weight = Weight::usual(Fp4Scheme::mxfp4(), [9, 64]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = Random(5).values(3 * 64);
        values[64 + 41] = bad;
        for rows in ProductRows::all(&values, 64) {
            let mut out = [0.0; 3 * 9];
            packed_product(&rows, &weight.matrix(), 0..9, &mut out);
            for (i, x) in out.iter().enumerate() {
                assert_eq!(x.is_finite(), i / 9 != 1, "{bad} {i}: {x}");
            }
        }
    }
}

#[test]
fn rows_of_zeros_and_of_the_smallest_numbers() {
    let weight = Weight::usual(Fp4Scheme::mxfp4(), [4, 64]);
    let tiny = f32::from_bits(1);
    check(&weight, &[0.0; 64]);
    check(&weight, &[tiny; 64]);
    check(&weight, &[[0.0; 32], [-3.0 * tiny; 32]].concat());
}

#[test]
fn parts_of_outputs_give_the_same_bits() {
    let weight = Weight::usual(Fp4Scheme::nvfp4(), [9, 160]);
    let matrix = weight.matrix();
    for n_rows in 1..=7 {
        for rows in ProductRows::all(&Random(2).values(n_rows * 160), 160) {
            let mut all = vec![0.0; n_rows * 9];
            packed_product(&rows, &matrix, 0..9, &mut all);
            for output in 0..9 {
                let mut one = vec![0.0; n_rows];
                packed_product(&rows, &matrix, output..output + 1, &mut one);
                for (row, x) in one.iter().enumerate() {
                    assert_eq!(x.to_bits(), all[row * 9 + output].to_bits());
                }
            }
        }
    }
}

#[test]
fn empty_products() {
    let weight = Weight::usual(Fp4Scheme::mxfp4(), [3, 32]);
    let none = ProductRows::new(&[], 32);
    assert_eq!(none.n_rows(), 0);
    packed_product(&none, &weight.matrix(), 0..3, &mut []);
    let one = ProductRows::new(&[1.0; 32], 32);
    packed_product(&one, &weight.matrix(), 2..2, &mut []);
    assert_eq!(ProductRows::new(&[], 0).n_rows(), 0);
}

#[test]
fn bytes_that_do_not_fit_are_refused() {
    let scheme = Fp4Scheme::mxfp4();
    let new = |shape, codes: &[u8], scales: &[u8]| {
        PackedMatrix::new(scheme, shape, codes, scales, 1.0).map(|matrix| matrix.d_output())
    };
    assert_eq!(new([2, 32], &[0; 32], &[0; 2]), Ok(2));
    let error = new([2, 32], &[0; 31], &[0; 2]).unwrap_err();
    assert!(matches!(error, Fp4Error::CodesLength { expected: 32, .. }));
    let error = new([2, 32], &[0; 32], &[0; 3]).unwrap_err();
    assert!(matches!(error, Fp4Error::ScalesLength { expected: 2, .. }));
    let error = new([2, 48], &[0; 48], &[0; 3]).unwrap_err();
    assert!(matches!(error, Fp4Error::BlockSize { length: 48, .. }));
}

#[test]
#[should_panic(expected = "inner axes")]
fn rows_of_another_width_panic() {
    let weight = Weight::usual(Fp4Scheme::mxfp4(), [3, 32]);
    let rows = ProductRows::new(&[0.0; 64], 64);
    packed_product(&rows, &weight.matrix(), 0..1, &mut [0.0]);
}

#[test]
#[should_panic(expected = "are not rows of")]
fn parts_of_rows_panic() {
    ProductRows::new(&[0.0; 33], 32);
}
