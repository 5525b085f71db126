//! From global to shared memory, for tensor cores.
//!
//! A stage holds so many terms of the rows of a factor as they lie in memory, in vectors of eight: rows of
//! the output or columns of it next to each other, or terms. Which of both, the matrix instructions are told.

use cubecl::prelude::*;

use super::geometry::source_row;
use crate::ops::kernels::block_scale::scale_value;
use crate::ops::kernels::codes::byte_of;
use crate::ops::kernels::format::KernelFormat;
use crate::ops::kernels::quantize::CODES_PER_WORD;

/// Eight elements of 16 bits; as words, so that they move without being taken apart.
pub(crate) type Words = Vector<u32, Const<4>>;

/// Terms in shared memory at a time.
pub(crate) const DEPTH: usize = 32;
/// Elements of a vector.
pub(crate) const VECTOR: usize = 8;

/// The layout of a stage and the division of its loads among the units of a cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StageShape {
    /// Rows as they lie in memory.
    pub rows: usize,
    /// Vectors of a row.
    pub width: usize,
    pub n_units: usize,
    /// Whether rows in memory are terms, and follow the sum instead of the output.
    pub terms: bool,
    pub top_k: Option<usize>,
}

impl StageShape {
    /// The stage for a tile that reaches over `len` rows or columns of the output.
    pub const fn new(len: usize, terms: bool, top_k: Option<usize>, n_units: usize) -> Self {
        let (rows, width) = match terms {
            true => (DEPTH, len / VECTOR),
            false => (len, DEPTH / VECTOR),
        };
        Self {
            rows,
            width,
            n_units,
            terms,
            top_k,
        }
    }

    /// Vectors from one row to the next. One more than needed, so that eight rows are in different banks.
    pub const fn pitch(self) -> usize {
        self.width + 1
    }

    /// Vectors of a stage.
    pub const fn size(self) -> usize {
        self.rows * self.pitch()
    }

    /// Vectors that a unit loads.
    pub const fn loads(self) -> usize {
        self.rows * self.width / self.n_units
    }
}

/// A factor in global memory; pitches and widths count vectors, or words of codes.
#[derive(CubeType, Clone, Copy)]
pub(crate) struct Source {
    /// Rows ahead of the matrix of the expert.
    pub base: usize,
    pub pitch: usize,
    pub scale_pitch: usize,
    /// The last vector of a row.
    pub last_column: usize,
    /// First row and number of rows that may be read.
    pub first_row: usize,
    pub n_rows: usize,
    /// First vector, if rows are terms.
    pub first_column: usize,
}

/// What a unit has loaded, not yet in shared memory.
#[derive(CubeType)]
pub(crate) struct Loaded {
    vectors: Array<Words>,
    /// Instead of vectors: codes, and the scale bytes of their blocks.
    codes: Array<u32>,
    scales: Array<u32>,
}

#[cube]
impl Loaded {
    pub fn new(#[comptime] shape: StageShape) -> Loaded {
        Loaded {
            vectors: Array::new(comptime!(shape.loads())),
            codes: Array::new(comptime!(shape.loads())),
            scales: Array::new(comptime!(shape.loads())),
        }
    }
}

/// The rows that a unit loads from, beginning with that of term `term` if rows are terms.
#[cube]
pub(crate) fn find_rows(
    rows: &mut Array<usize>,
    order: ComptimeOption<&[u32]>,
    source: &Source,
    term: usize,
    #[comptime] shape: StageShape,
) {
    #[unroll]
    for i in 0..comptime!(shape.loads()) {
        let task = UNIT_POS as usize + comptime!(i * shape.n_units);
        let row = if comptime!(shape.terms) {
            term + task / shape.width
        } else {
            task / shape.width
        };
        // Those beyond the last one are that again; in a sum they become zeros.
        let row = source.first_row + min(row, source.n_rows - 1);
        rows[i] = source.base + source_row(order, row, shape.top_k);
    }
}

/// Vector of a row that load `i` of a unit is for.
#[cube]
fn column(
    source: &Source,
    term: usize,
    #[comptime] i: usize,
    #[comptime] shape: StageShape,
) -> usize {
    let task = UNIT_POS as usize + comptime!(i * shape.n_units);
    let first = if comptime!(shape.terms) {
        source.first_column
    } else {
        term / VECTOR
    };
    min(first + task % shape.width, source.last_column)
}

/// Begins to load a dense factor.
#[cube]
pub(crate) fn load(
    loaded: &mut Loaded,
    factor: &[Words],
    rows: &Array<usize>,
    source: &Source,
    term: usize,
    #[comptime] shape: StageShape,
) {
    #[unroll]
    for i in 0..comptime!(shape.loads()) {
        loaded.vectors[i] = factor[rows[i] * source.pitch + column(source, term, i, shape)];
    }
}

/// Begins to load a packed factor.
#[cube]
#[allow(clippy::too_many_arguments)]
pub(crate) fn load_packed(
    loaded: &mut Loaded,
    codes: &[u32],
    scales: &[u32],
    rows: &Array<usize>,
    source: &Source,
    term: usize,
    #[comptime] shape: StageShape,
    #[comptime] format: KernelFormat,
) {
    #[unroll]
    for i in 0..comptime!(shape.loads()) {
        let column = column(source, term, i, shape);
        loaded.codes[i] = codes[rows[i] * source.pitch + column];
        let position =
            rows[i] * source.scale_pitch + column / comptime!(format.block_size / CODES_PER_WORD);
        loaded.scales[i] = byte_of(scales[position / 4], position);
    }
}

/// How values become what is in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Storing {
    pub format: Option<KernelFormat>,
    /// Whether rows are multiplied by factors.
    pub scaled: bool,
    /// Whether there may be fewer terms than in a stage.
    pub tail: bool,
}

/// Writes what was loaded to a stage, with zeros behind the first `terms_left` terms.
#[cube]
#[allow(clippy::too_many_arguments)]
pub(crate) fn store<F: Float>(
    loaded: &Loaded,
    stage: &mut Shared<[Words]>,
    first: usize,
    factors: &Array<f32>,
    terms_left: usize,
    #[comptime] shape: StageShape,
    #[comptime] storing: Storing,
) {
    #[unroll]
    for i in 0..comptime!(shape.loads()) {
        let task = UNIT_POS as usize + comptime!(i * shape.n_units);
        let (row, column) = (task / shape.width, task % shape.width);
        let mut value = match comptime!(storing.format) {
            Option::Some(format) => {
                let factor = scale_value(loaded.scales[i], format.scales);
                decode_bf16::<F>(loaded.codes[i], factor)
            }
            Option::None => loaded.vectors[i],
        };
        if comptime!(storing.scaled) {
            let floats = Vector::<F, Const<8>>::reinterpret(value);
            let scaled = Vector::<f32, Const<8>>::cast_from(floats) * Vector::new(factors[i]);
            value = Words::reinterpret(Vector::<F, Const<8>>::cast_from(scaled));
        }
        if comptime!(storing.tail) {
            let term = if comptime!(shape.terms) {
                row
            } else {
                column * VECTOR
            };
            value = select(term < terms_left, value, Words::new(0u32));
        }
        stage[first + row * comptime!(shape.pitch()) + column] = value;
    }
}

/// The eight values of a word of codes times the factor of their block, which is exact in `bf16`: a value
/// has six significant bits at most.
#[cube]
fn decode_bf16<F: Float>(word: u32, factor: f32) -> Words {
    let factor = Vector::<F, Const<2>>::new(F::cast_from(factor));
    // The three bits of a magnitude are those of a `bf16` with a tiny exponent, also where both are
    // subnormal; 2^126 brings them to their value.
    let lift = Vector::<F, Const<2>>::new(F::cast_from(f32::reinterpret(0x7e80_0000u32.runtime())));
    let mut values = Words::empty();
    #[unroll]
    for pair in 0..4usize {
        let codes = word >> comptime!(8 * pair as u32);
        let spread = (codes & 0xfu32) | ((codes & 0xf0u32) << 12u32);
        let bits = ((spread & 0x0007_0007u32) << 6u32) | ((spread & 0x0008_0008u32) << 12u32);
        let two = Vector::<F, Const<2>>::reinterpret(bits) * lift * factor;
        values.insert(pair, u32::reinterpret(two));
    }
    values
}
