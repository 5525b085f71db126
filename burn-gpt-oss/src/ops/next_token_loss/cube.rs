//! For CubeCL: chunks of rows, whose logits are multiplied, turned into gradients, and multiplied
//! again.
// The language of kernels has neither iterators nor all methods of integers.
#![allow(clippy::needless_range_loop, clippy::manual_is_multiple_of)]
#![allow(unsafe_code)]

mod chunks;
pub(in crate::ops) mod kernels;
mod rows;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_cubecl::CubeBackend;

use super::NextTokenLossBackend;

impl NextTokenLossBackend for CubeBackend {
    fn next_token_loss(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        row_weights: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        chunks::loss(hidden, weight, targets, row_weights, [false; 2]).0
    }

    fn next_token_loss_with_gradients(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        row_weights: FloatTensor<Self>,
        wanted: [bool; 2],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        chunks::loss(hidden, weight, targets, row_weights, wanted)
    }
}
