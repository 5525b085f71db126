//! Products of matrices.

use burn::tensor::DType;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul as burn_matmul};
use burn_cubecl::tensor::CubeTensor;

use super::gemm::matmul;

/// `lhs [m, k]` times `rhs [k, n]`, accumulated in float32.
///
/// Burn's product for half precision on CUDA; for float32 it would round the factors to TF32, and
/// elsewhere it compiles for minutes.
pub fn product(lhs: CubeTensor, rhs: CubeTensor, out_dtype: DType) -> CubeTensor {
    if lhs.client.name() != "cuda" || lhs.dtype == DType::F32 {
        return matmul(lhs, rhs, out_dtype);
    }
    match burn_matmul(lhs, rhs, None, MatmulStrategy::default(), out_dtype) {
        Ok(product) => product,
        Err(error) => panic!("product: {error:?}"),
    }
}
