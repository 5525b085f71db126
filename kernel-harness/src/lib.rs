//! What the tests of the kernels of all crates share: the runtimes that are here, bounds of errors, and
//! compilation for GPUs that are not here.
#![deny(unsafe_code)]

#[cfg(feature = "_cube")]
pub mod bounds;
#[cfg(feature = "cuda")]
pub mod ptx;
#[cfg(feature = "_cube")]
pub mod runtimes;
