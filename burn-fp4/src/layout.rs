//! How other programs lay packed tensors out. Byte layouts only, no file access.
//!
//! Every module has functions `to_*` and `from_*`. Codes and block scales go through them unchanged
//! or are moved, never converted, so that there and back gives the same bytes.
//!
//! | layout | codes | block scales | global scale |
//! |---|---|---|---|
//! | [`PackedFp4`](crate::PackedFp4) | `[.., out, in/2]` | `[.., out, in/32]`, `[.., out, in/16]` | multiplies |
//! | [`gpt_oss`] | `[.., out, in/32, 16]` | `[.., out, in/32]` | none |
//! | [`modelopt`], linear layers | `[.., out, in/2]` | `[.., out, in/16]` | multiplies |
//! | [`modelopt`], fused experts | `[E, in/2, out]` | `[E, in/16, out]` | multiplies |
//! | [`compressed_tensors`] | `[.., out, in/2]` | `[.., out, in/32]`, `[.., out, in/16]` | divides |
//! | [`ggml`] | blocks of scales and codes | in the blocks | another tensor, multiplies |

mod shapes;
mod stored;
mod transpose;

pub mod compressed_tensors;
pub mod ggml;
pub mod gpt_oss;
pub mod modelopt;

pub use stored::StoredTensor;
