//! The launch of the norm.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::kernels::forward::normalize;
use super::rows::Rows;
use burn_fp4::backend::cube::{buffer, contiguous, cubes, empty, float_type};

/// The normalized rows and the reciprocals of their roots.
pub(super) fn forward(
    input: CubeTensor,
    weight: CubeTensor,
    epsilon: f32,
) -> (CubeTensor, CubeTensor) {
    assert_eq!(weight.dtype, DType::F32, "dtype of the weight of a norm");
    let (input, weight) = (contiguous(input), contiguous(weight));
    let size = weight.meta.num_elements();
    let output = empty(&input, input.shape(), input.dtype);
    let Some(rows) = Rows::new(&input, size, &[&weight]) else {
        let none = empty(&input, Shape::new([0]), DType::F32);
        return (output, none);
    };
    let reciprocals = empty(&input, Shape::new([rows.n_rows]), DType::F32);
    // SAFETY: teams beyond the last row end at once.
    unsafe {
        normalize::launch_unchecked(
            &input.client,
            cubes(&input.client, rows.team.n_cubes(rows.n_rows)),
            CubeDim::new_1d(rows.team.cube_units()),
            rows.address_type,
            rows.vector,
            buffer(&input),
            buffer(&weight),
            buffer(&output),
            buffer(&reciprocals),
            rows.n_rows,
            rows.n_vectors,
            rows.size as f32,
            epsilon,
            rows.team,
            float_type(&input),
        );
    }
    (output, reciprocals)
}
