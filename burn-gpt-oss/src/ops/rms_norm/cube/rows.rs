//! The geometry of a launch.

use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use burn_fp4::backend::cube::{Hardware, Team, vector_size};

/// Most units of a cube; wider rows take several turns.
const MOST_UNITS: usize = 256;

/// The rows of a tensor in vectors.
pub(super) struct Rows {
    pub n_rows: usize,
    /// Channels.
    pub size: usize,
    /// Channels of a vector.
    pub vector: usize,
    /// Vectors of a row.
    pub n_vectors: usize,
    pub team: Team,
    pub address_type: AddressType,
}

impl Rows {
    /// None if there is nothing to do. Vectors of as many elements must be readable from `beside`.
    pub fn new(input: &CubeTensor, size: usize, beside: &[&CubeTensor]) -> Option<Self> {
        let n_elements = input.meta.num_elements();
        if n_elements == 0 {
            return None;
        }
        let vector = vector_size(input, size, beside);
        let n_vectors = size / vector;
        // Shares of equal size rather than full cubes.
        let shares = n_vectors.div_ceil(n_vectors.div_ceil(MOST_UNITS));
        Some(Self {
            n_rows: n_elements / size,
            size,
            vector,
            n_vectors,
            team: Team::new(&Hardware::of(&input.client), shares, MOST_UNITS),
            address_type: AddressType::from_len(n_elements),
        })
    }

    /// Vectors of a row that a unit has at most.
    pub fn turns(&self) -> usize {
        self.n_vectors.div_ceil(self.team.units)
    }
}
