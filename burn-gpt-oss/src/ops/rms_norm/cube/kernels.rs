//! The kernels.

pub(super) mod backward;
pub(super) mod forward;
pub(super) mod partials;
