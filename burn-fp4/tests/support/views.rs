//! Tensors as they lie in memory, and what they are quantized with.

use burn::backend::Flex;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Slice, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;
use burn_fp4::{Fp4Scheme, GlobalScope, ScaleRule};

use super::cases::{data, numbers};
use kernel_harness::runtimes::TestRuntime;

pub const DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

fn schemes() -> Vec<Fp4Scheme> {
    vec![
        Fp4Scheme::mxfp4(),
        Fp4Scheme::mxfp4_with(ScaleRule::Floor),
        Fp4Scheme::mxfp4_with(ScaleRule::Even),
        Fp4Scheme::nvfp4(),
        Fp4Scheme::nvfp4_block32(),
        Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert),
    ]
}

/// A view of a tensor, the same for both backends.
#[derive(Clone, Copy, Debug)]
pub enum View {
    Whole,
    /// Room behind every row.
    Pitched(usize),
    /// The last two axes swapped.
    Swapped,
    /// The first two axes swapped.
    Rotated,
    /// Without the first and the last index of the first axis.
    Sliced,
}

impl View {
    /// What Flex has.
    pub fn flex(self, data: &TensorData) -> FlexTensor {
        let tensor = FlexTensor::from_data(data.clone());
        match self {
            Self::Whole | Self::Pitched(_) => tensor,
            Self::Swapped => {
                Flex::float_swap_dims(tensor, data.shape().len() - 2, data.shape().len() - 1)
            }
            Self::Rotated => Flex::float_swap_dims(tensor, 0, 1),
            Self::Sliced => Flex::float_slice(tensor, &self.slices(data)),
        }
    }

    /// What a CubeCL runtime has.
    pub fn cube(self, data: &TensorData, runtime: &TestRuntime) -> CubeTensor {
        let tensor = || runtime.tensor(data.clone());
        match self {
            Self::Whole => tensor(),
            Self::Pitched(more) => {
                runtime.pitched(data, data.shape()[data.shape().len() - 1] + more)
            }
            Self::Swapped => CubeBackend::float_swap_dims(
                tensor(),
                data.shape().len() - 2,
                data.shape().len() - 1,
            ),
            Self::Rotated => CubeBackend::float_swap_dims(tensor(), 0, 1),
            Self::Sliced => CubeBackend::float_slice(tensor(), &self.slices(data)),
        }
    }

    fn slices(self, data: &TensorData) -> Vec<Slice> {
        let mut slices = vec![Slice::full(); data.shape().len()];
        slices[0] = Slice::from(1..data.shape()[0] - 1);
        slices
    }
}

/// Shape in memory, view, and axis of the view: odd sizes, every position of the block axis.
fn cases() -> Vec<(Vec<usize>, View, usize)> {
    vec![
        (vec![32], View::Whole, 0),
        (vec![1, 96], View::Whole, 1),
        (vec![7, 2880], View::Whole, 1),
        (vec![3, 5, 64], View::Whole, 2),
        (vec![3, 64, 5], View::Whole, 1),
        (vec![3, 96, 34], View::Whole, 1),
        (vec![2, 64, 128], View::Whole, 1),
        (vec![64, 3, 7], View::Whole, 0),
        (vec![96, 40], View::Whole, 0),
        (vec![64, 1], View::Whole, 0),
        (vec![64, 3, 1], View::Whole, 0),
        (vec![3, 5, 64], View::Pitched(8), 2),
        (vec![3, 5, 64], View::Pitched(1), 2),
        (vec![3, 64, 10], View::Pitched(6), 1),
        (vec![64, 4, 9], View::Pitched(3), 0),
        (vec![3, 64, 6], View::Swapped, 2),
        (vec![3, 6, 64], View::Swapped, 1),
        (vec![5, 3, 64], View::Rotated, 2),
        (vec![64, 3, 6], View::Rotated, 1),
        (vec![6, 4, 64], View::Sliced, 2),
        (vec![6, 64, 4], View::Sliced, 1),
        (vec![5, 32, 3], View::Sliced, 1),
    ]
}

/// Whether a shape, a scheme and a dtype meet. Compilers take their time, and a GPU is not waiting for them
/// alone: elsewhere the two formats meet every shape in `f32` and a third of the shapes in each narrow type, what
/// differs from them in a constant a third of the shapes in one dtype. WGSL, which differs from SPIR-V only in the
/// compiler, has a third of the shapes in one dtype.
fn is_chosen(runtime: &str, [shape, scheme, dtype]: [usize; 3]) -> bool {
    let third = shape % 3 == scheme % 3;
    let format =
        matches!(schemes()[scheme], s if s == Fp4Scheme::mxfp4() || s == Fp4Scheme::nvfp4());
    match runtime {
        "cuda" => true,
        // It has no bf16.
        "wgsl" => third && shape / 3 % 2 * 2 == dtype,
        _ if format => dtype == 0 || shape % 3 == dtype,
        _ => third && shape / 3 % 3 == dtype,
    }
}

/// Runs `check` for every case, scheme and dtype that fit together.
pub fn for_all(
    runtime: &TestRuntime,
    mut check: impl FnMut(&TensorData, View, usize, Fp4Scheme, &str),
) -> usize {
    let mut n_cases = 0;
    for (i, (shape, view, axis)) in cases().into_iter().enumerate() {
        for (j, scheme) in schemes().into_iter().enumerate() {
            let expert = scheme != scheme.with_global_scope(GlobalScope::Tensor);
            if expert && axis == 0 {
                continue;
            }
            for (k, dtype) in DTYPES.into_iter().enumerate() {
                if !runtime.has(dtype) || !is_chosen(runtime.name, [i, j, k]) {
                    continue;
                }
                let values = numbers(shape.iter().product(), i as u64 + 100);
                let what = format!(
                    "{}: {scheme}, {dtype:?}, {shape:?}, {view:?}, axis {axis}",
                    runtime.name
                );
                check(&data(&values, &shape, dtype), view, axis, scheme, &what);
                n_cases += 1;
            }
        }
    }
    n_cases
}
