//! The trait that a backend implements, and the tensor types that its operations take and return.

pub use crate::ops::{Fp4Backend, Fp4Primitive, LearnedGradients};
