#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod e2m1;
pub mod e8m0;
pub mod layout;

mod block_axis;
mod element;
mod error;
mod fake_quantize;
mod ops;
mod packed;
mod scheme;
mod simd;

pub use element::Fp4Element;
pub use error::Fp4Error;
pub use fake_quantize::{fake_quantize_into, fake_quantize_slice};
pub use ops::{Fp4Backend, fake_quantize, fake_quantize_along};
pub use packed::{PackedFp4, PackedFp4Ref};
pub use scheme::{Fp4Scheme, ScaleRule};
