//! Few rows times a weight that has a row per output, as checkpoints store them: text generation, where the
//! time is that of reading the weight.
//!
//! Floor: every byte of the weight once.

mod dense;
pub(crate) mod kernel;
mod packed;

use burn::tensor::DType;

use super::Hardware;
use super::gemm::geometry::Grouping;
use super::gemm::operands::Right;
use super::gemm::product::Product;
use super::launch::vector_size;
use super::team::Team;
use crate::ops::kernels::quantize::CODES_PER_WORD;
use kernel::FewRowsSplit;

/// Rows up to which tiles are taken to be slower, most of whose rows would be empty.
const FEW: usize = 16;
/// Most units of a cube; longer rows take several turns.
const MOST_UNITS: usize = 128;
/// Teams that are enough to fill a device.
const ENOUGH: usize = 512;
/// Some drivers end loops after so many turns.
const MOST_TURNS: usize = 65_535;

/// How few rows are multiplied.
pub(super) struct FewRows {
    pub split: FewRowsSplit,
    /// Floats of a vector of the rows, and words of one of the codes.
    pub vectors: [usize; 2],
    pub n_teams: usize,
}

impl FewRows {
    /// If this is the way to do it. The sums of a row have one order whatever other rows there are.
    pub fn of(product: &Product, hardware: &Hardware) -> Option<Self> {
        let Product {
            lhs,
            rhs,
            n_rows,
            n_columns,
            ..
        } = product;
        let by_outputs = product.lhs_rows && !product.rhs_terms;
        let plain = product.grouping != Grouping::Terms && product.scores.is_none();
        let floats = |dtype| matches!(dtype, DType::F32 | DType::BF16 | DType::F16);
        let some = (1..=FEW).contains(n_rows) && product.n_terms > 0;
        if !by_outputs || !plain || !some || !floats(lhs.tensor.dtype) {
            return None;
        }
        // A power of two that all distances are multiples of.
        let step =
            |lengths: [usize; 3]| 1 << lengths.into_iter().fold(0, |a, b| a | b).trailing_zeros();
        let (vectors, len) = match rhs {
            Right::Dense(rhs) if floats(rhs.tensor.dtype) => {
                let step = step([lhs.width, lhs.pitch, rhs.pitch]);
                let vector = vector_size(&rhs.tensor, step, &[&lhs.tensor]);
                ([vector, 1], vector)
            }
            Right::Dense(_) => return None,
            Right::Packed(packed) => {
                let row_step = step([lhs.width, lhs.pitch, 8]);
                let row_vector = vector_size(&lhs.tensor, row_step, &[]);
                let words = packed.code_vector();
                ([row_vector, words], words * CODES_PER_WORD)
            }
        };
        let n_vectors = product.n_terms / len;
        // Shares of equal size rather than full cubes.
        let shares = n_vectors.div_ceil(n_vectors.div_ceil(MOST_UNITS));
        let team = Team::new(hardware, shares, MOST_UNITS);
        if n_vectors.div_ceil(team.units) > MOST_TURNS {
            return None;
        }
        let split = Self::split(product, team);
        let n_teams = n_rows.div_ceil(split.rows) * n_columns.div_ceil(split.outputs);
        Some(Self {
            split,
            vectors,
            n_teams,
        })
    }

    /// What keeps most loads in flight with few registers; fewer outputs where there would be too few teams.
    fn split(product: &Product, team: Team) -> FewRowsSplit {
        let (rows, outputs) = match product.n_rows {
            // Every row may have an expert of its own.
            _ if product.grouping == Grouping::Rows => (1, 4),
            1 => (1, 4),
            2 => (2, 4),
            _ => (4, 2),
        };
        let teams = product.n_rows.div_ceil(rows) * product.n_columns / outputs;
        FewRowsSplit {
            rows,
            outputs: if teams < ENOUGH { 1 } else { outputs },
            team,
            top_k: product.kind().lhs_top_k,
        }
    }
}
