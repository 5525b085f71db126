//! How a kernel computes what must have the same bits everywhere.

use cubecl::prelude::*;

/// The arithmetic that a runtime can be trusted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Arithmetic {
    /// What is written is computed: IEEE 754 operations rounded to nearest even, subnormal numbers
    /// kept, `fma` fused, nothing reassociated. CUDA and the CPU runtime.
    ///
    /// CUDA's compilers may fuse a product into a sum that it is an operand of, so such a sum must not
    /// decide about a bit: there is always a comparison between the two.
    Float,
    /// Integers alone. Shading languages may divide with an error, flush subnormal numbers,
    /// reassociate sums and assume that nothing is infinite (WGSL, section 15.7).
    Integer,
}

impl Arithmetic {
    /// That of the runtime of a client.
    pub fn of(client: &Client) -> Self {
        match client.name() {
            "cuda" | "cpu" => Self::Float,
            _ => Self::Integer,
        }
    }
}
