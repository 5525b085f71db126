//! The kernels.

pub(crate) mod backward;
pub(crate) mod forward;
pub(crate) mod partials;
