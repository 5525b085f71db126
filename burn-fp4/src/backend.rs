//! The traits that a backend implements, the types that their operations take and return, and what
//! other implementations of operations share with these.

pub use crate::ops::{Fp4Backend, Fp4Primitive, LearnedGradients};
pub use crate::product::experts::{CombineGradients, ExpertBackend, ExpertRoutes};
pub use crate::product::linear::LinearBackend;
pub use crate::product::low_rank::LowRankPrimitive;
pub use crate::product::operand::OperandPrimitive;

/// Tensors of Flex, Burn's pure Rust CPU backend, and products of their matrices.
#[cfg(feature = "flex")]
pub mod flex {
    pub use crate::product::flex::matrix::{Matrix, MatrixMut};
    pub use crate::product::flex::product::product;
    pub use crate::product::flex::{
        FloatElement, elements, floats, indices, narrowed, tensor, with_float,
    };
    pub use crate::simd::{Kernel, dispatch, dot};
    pub use crate::written::written;
}

/// Tensors and launches of CubeCL, Burn's backend for GPUs, and products of matrices.
#[cfg(feature = "_cube")]
pub mod cube {
    pub use crate::product::cube::launch::{buffer, cubes, float_type, vector_size};
    pub use crate::product::cube::product::product;
    pub use crate::product::cube::team::{Team, team_max, team_rank, team_row, team_sum};
    pub use crate::product::cube::{Hardware, contiguous, empty, row_vector_size, zeros};
}
