//! Few rows times a matrix whose columns are contiguous, as checkpoints store them: text generation, where
//! the time is that of reading the matrix.
//!
//! Floor: every byte of the matrix once.
#![allow(unsafe_code)]

pub(in crate::ops) mod kernel;

use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::gemm::Dense;
use super::{Hardware, Team, buffer, contiguous, cubes, empty, float_type, vector_size};
use kernel::{GemvShapeLaunch, GemvSplit, gemv};

/// Rows up to which tiles are taken to be slower, most of whose rows would be empty.
const FEW: usize = 16;
/// Most units of a cube; longer columns take several turns.
const MOST_UNITS: usize = 128;
/// Groups of outputs that are enough to fill a device.
const ENOUGH: usize = 512;
/// Some drivers end loops after so many turns.
const MOST_TURNS: usize = 65_535;

/// `lhs rhs (+ bias)` if this is the way to do it. Sums are in `f32`, and those of a row have one order
/// whatever other rows there are.
///
/// # Shapes
/// - lhs: rows of `[m, k]`
/// - rhs: columns of `[k, n]`, any float dtype
/// - bias: `[n]`, dtype of `lhs`
/// - output: `[m, n]`
pub(super) fn few_rows(
    lhs: &Dense,
    rhs: &Dense,
    [n_rows, n_outputs]: [usize; 2],
    bias: Option<CubeTensor>,
    out_dtype: DType,
) -> Option<CubeTensor> {
    let len = lhs.width;
    let floats = |dtype| matches!(dtype, DType::F32 | DType::BF16 | DType::F16);
    let known = floats(lhs.tensor.dtype) && floats(rhs.tensor.dtype);
    if !(1..=FEW).contains(&n_rows) || n_outputs == 0 || len == 0 || !known {
        return None;
    }
    // A power of two that all distances are multiples of.
    let step = 1 << (len | lhs.pitch | rhs.pitch).trailing_zeros();
    let vector = vector_size(&rhs.tensor, step, &[&lhs.tensor]);
    let n_vectors = len / vector;
    // Shares of equal size rather than full cubes.
    let shares = n_vectors.div_ceil(n_vectors.div_ceil(MOST_UNITS));
    let client = &lhs.tensor.client;
    let team = Team::new(&Hardware::of(client), shares, MOST_UNITS);
    if n_vectors.div_ceil(team.units) > MOST_TURNS {
        return None;
    }
    let split = GemvSplit::new(n_rows, n_outputs, team);
    let n_teams = n_rows.div_ceil(split.rows) * n_outputs.div_ceil(split.outputs);
    let output = empty(&lhs.tensor, [n_rows, n_outputs], out_dtype);
    let largest = (n_outputs * rhs.pitch).max(n_rows * lhs.pitch.max(n_outputs));
    // SAFETY: rows and outputs beyond the last ones are those again and not written; teams without rows
    // end at once; vectors divide the distances between rows and their length.
    unsafe {
        gemv::launch_unchecked(
            client,
            cubes(client, team.n_cubes(n_teams)),
            CubeDim::new_1d(team.cube_units()),
            AddressType::from_len(largest),
            vector,
            buffer(&lhs.tensor),
            buffer(&rhs.tensor),
            bias.map(|bias| buffer(&contiguous(bias))).into(),
            buffer(&output),
            GemvShapeLaunch::new(
                n_rows,
                n_outputs,
                n_vectors,
                lhs.pitch / vector,
                rhs.pitch / vector,
            ),
            split,
            float_type(&lhs.tensor),
            float_type(&rhs.tensor),
            dtype_to_elem_type(out_dtype),
        );
    }
    Some(output)
}

impl GemvSplit {
    /// What keeps most loads in flight with few registers; fewer outputs where there would be too few teams.
    fn new(n_rows: usize, n_outputs: usize, team: Team) -> Self {
        let (rows, outputs) = match n_rows {
            1 => (1, 4),
            2 => (2, 4),
            _ => (4, 2),
        };
        let outputs = match n_outputs / outputs < ENOUGH {
            true => 1,
            false => outputs,
        };
        Self {
            rows,
            outputs,
            team,
        }
    }
}
