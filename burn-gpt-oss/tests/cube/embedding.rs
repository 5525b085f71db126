//! The embedding by kernels, on every runtime there is: rows to the last bit, gradients against sums in
//! `f64` with as many roundings as they have terms.

use burn::tensor::{DType, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use burn_gpt_oss::backend::EmbeddingBackend;
use kernel_harness::bounds::{Bounded, UNIT, check, dtypes, floats, sample, smallest, unit};
use kernel_harness::runtimes::{TestRuntime, read, runtimes};

/// Vocabulary, channels, places: more places than rows, odd numbers, rows without a place.
const SHAPES: [[usize; 3]; 4] = [[5, 3, 70], [1, 1, 2], [1000, 64, 40], [300, 34, 513]];

struct Case {
    shape: [usize; 3],
    dtype: DType,
    ids: Vec<i32>,
    used: Vec<usize>,
}

impl Case {
    /// Every third place has the same id; some ids are none.
    fn new(shape @ [vocab_size, _, n]: [usize; 3], dtype: DType) -> Self {
        let last = vocab_size - 1;
        let id = |place: usize| match place % 12 {
            0 | 3 | 6 | 9 => (last / 2) as i32,
            5 => -1 - place as i32,
            7 => (vocab_size + place) as i32,
            _ => (place * 7919 % vocab_size) as i32,
        };
        let ids: Vec<i32> = (0..n).map(id).collect();
        let used = ids.iter().map(|&id| match usize::try_from(id) {
            Ok(id) => id.min(last),
            Err(_) => last,
        });
        Self {
            shape,
            dtype,
            used: used.collect(),
            ids,
        }
    }

    fn ids(&self, runtime: &TestRuntime) -> CubeTensor {
        runtime.tensor(TensorData::new(self.ids.clone(), [self.ids.len()]))
    }

    fn rows(&self, weight: &[f64]) -> Vec<Bounded> {
        let width = self.shape[1];
        let row = |id: &usize| weight[id * width..][..width].iter();
        self.used.iter().flat_map(row).map(|x| (*x, 0.0)).collect()
    }

    fn sums(&self, grad: &[f64]) -> Vec<Bounded> {
        let [vocab_size, width, n] = self.shape;
        let mut sums = vec![(0.0, 0.0); vocab_size * width];
        for (id, row) in self.used.iter().zip(grad.chunks(width)) {
            for ((sum, magnitude), x) in sums[id * width..].iter_mut().zip(row) {
                *sum += x;
                *magnitude += x.abs();
            }
        }
        for (sum, bound) in &mut sums {
            let narrow = sum.abs()
                * if self.dtype == DType::F32 {
                    0.0
                } else {
                    unit(self.dtype)
                };
            *bound = *bound * n as f64 * UNIT + narrow + smallest(self.dtype);
        }
        sums
    }

    /// The largest share of a bound.
    fn check(&self, runtime: &TestRuntime) -> f64 {
        let [vocab_size, width, n] = self.shape;
        let what = format!("{}: {:?} {:?}", runtime.name, self.shape, self.dtype);
        println!("{what}");
        let weight = sample([vocab_size, width], 1.0, self.dtype);
        let found = CubeBackend::embedding_rows(runtime.tensor(weight.clone()), self.ids(runtime));
        let expected = self.rows(&floats(&weight));
        check(&what, &read(found), &[n, width], self.dtype, &expected);

        let grad = sample([n, width], 1.0, self.dtype);
        let gradient = || {
            let grad = runtime.tensor(grad.clone());
            read(CubeBackend::embedding_rows_gradient(
                grad,
                self.ids(runtime),
                vocab_size,
            ))
        };
        let (found, what) = (gradient(), format!("{what}, gradient"));
        assert!(found.as_bytes() == gradient().as_bytes(), "{what}: twice");
        let expected = self.sums(&floats(&grad));
        check(&what, &found, &[vocab_size, width], self.dtype, &expected)
    }
}

#[test]
fn rows_are_gathered_and_their_gradients_summed() {
    for runtime in runtimes() {
        let (mut n_cases, mut largest) = (0, 0f64);
        for dtype in dtypes(&runtime) {
            for shape in SHAPES {
                largest = largest.max(Case::new(shape, dtype).check(&runtime));
                n_cases += 1;
            }
        }
        println!(
            "{}: {n_cases} cases, {largest:.3} of the bound",
            runtime.name
        );
    }
}
