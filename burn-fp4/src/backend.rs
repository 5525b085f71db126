//! What a backend implements, and what its operations take and give.

pub use crate::ops::{Fp4Backend, Fp4Primitive, LearnedGradients};
