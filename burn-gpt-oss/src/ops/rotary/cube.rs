//! For CubeCL: a unit has a vector of both halves of a head.
#![allow(unsafe_code)]

pub(in crate::ops) mod kernels;

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use super::RotaryBackend;
use burn_fp4::backend::cube::{buffer, contiguous, empty, float_type, vector_size};

impl RotaryBackend for CubeBackend {
    fn rotary_embedding(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        assert_eq!(
            [cos.dtype, sin.dtype],
            [x.dtype; 2],
            "dtypes of a rotation and its tables"
        );
        let (x, cos, sin) = (contiguous(x), contiguous(cos), contiguous(sin));
        let output = empty(&x, x.shape(), x.dtype);
        let n_elements = x.meta.num_elements();
        if n_elements == 0 {
            return output;
        }
        let [_, _, heads, dim] = x.shape().dims();
        let half = dim / 2;
        let vector = vector_size(&x, half, &[&cos, &sin]);
        let n_units = n_elements / 2 / vector;
        let cube_dim = CubeDim::new(&x.client, n_units);
        // SAFETY: units beyond the last vector of a first half end at once; there are tables of all
        // positions, or of those of one sequence.
        unsafe {
            kernels::rotate::launch_unchecked(
                &x.client,
                calculate_cube_count_elemwise(&x.client, n_units, cube_dim),
                cube_dim,
                AddressType::from_len(n_elements),
                vector,
                buffer(&x),
                buffer(&cos),
                buffer(&sin),
                buffer(&output),
                heads,
                cos.meta.num_elements() / half,
                n_units,
                half / vector,
                float_type(&x),
            );
        }
        output
    }
}
