//! Operations Burn does not have, as backend extensions.

mod experts;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod simd;
mod swiglu;

pub use experts::{
    CombineGradients, ExpertBackend, ExpertMatrices, ExpertPrimitive, ExpertRouting, ExpertRoutes,
    expert_combine, expert_linear, expert_routing,
};
pub use swiglu::{SwigluBackend, clamped_swiglu};
