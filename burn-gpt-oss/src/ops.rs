//! Operations Burn does not have, as backend extensions.

mod experts;
#[cfg(feature = "flex")]
mod flex;
mod swiglu;

pub use experts::{
    CombineGradients, ExpertBackend, ExpertMatrices, ExpertPrimitive, ExpertRoutes, ExpertRouting,
    expert_combine, expert_linear, expert_routing,
};
pub use swiglu::{SwigluBackend, clamped_swiglu};
