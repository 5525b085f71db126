//! A packed matrix, borrowed from wherever its bytes are.

use crate::codec::block_axis::BlockAxis;
use crate::error::Fp4Error;
use crate::packed::check_packed_len;
use crate::scheme::Fp4Scheme;

/// One matrix `[d_output, d_input]` in FP4 with blocks along `d_input`: bytes that are borrowed, for
/// instance from a memory-mapped checkpoint.
///
/// The bytes are those of [`PackedFp4`](crate::PackedFp4); the matrix of an expert is a part of
/// them. No byte is validated: every nibble is a value and every scale byte a scale or NaN.
#[derive(Clone, Copy, Debug)]
pub struct PackedMatrix<'a> {
    format: ScaleFormat,
    d_output: usize,
    d_input: usize,
    codes: &'a [u8],
    scales: &'a [u8],
    global_scale: f32,
}

/// What scale bytes mean, and how many elements share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::product) enum ScaleFormat {
    /// E8M0 for 32 elements.
    E8m0,
    /// E4M3 for 16 elements.
    E4m3Of16,
    /// E4M3 for 32 elements.
    E4m3Of32,
}

impl<'a> PackedMatrix<'a> {
    /// Puts a matrix together from its parts.
    ///
    /// `global_scale` is the one of the tensor, or of the expert, in NVFP4. MXFP4 has none: it is
    /// ignored.
    ///
    /// # Shapes
    ///
    /// - shape: `[d_output, d_input]`, logical elements
    /// - codes: `[d_output, d_input / 2]` bytes, element `2i` in the low nibble of byte `i`
    /// - scales: `[d_output, d_input / block_size]` bytes
    ///
    /// # Errors
    ///
    /// If `d_input` is not a multiple of the block size, or the number of bytes is wrong.
    pub fn new(
        scheme: Fp4Scheme,
        shape: [usize; 2],
        codes: &'a [u8],
        scales: &'a [u8],
        global_scale: f32,
    ) -> Result<Self, Fp4Error> {
        let axis = BlockAxis::new(&shape, 1, &scheme)?;
        check_packed_len(&scheme, &shape, axis, (codes, scales))?;
        let (format, global_scale) = match (scheme, scheme.block_size()) {
            (Fp4Scheme::Mxfp4 { .. }, _) => (ScaleFormat::E8m0, 1.0),
            (Fp4Scheme::Nvfp4 { .. }, 16) => (ScaleFormat::E4m3Of16, global_scale),
            (Fp4Scheme::Nvfp4 { .. }, _) => (ScaleFormat::E4m3Of32, global_scale),
        };
        let [d_output, d_input] = shape;
        Ok(Self {
            format,
            d_output,
            d_input,
            codes,
            scales,
            global_scale,
        })
    }

    /// Number of rows, each of which gives one element of a product.
    pub fn d_output(&self) -> usize {
        self.d_output
    }

    /// Number of columns, the axis of the sums.
    pub fn d_input(&self) -> usize {
        self.d_input
    }

    pub(super) fn format(&self) -> ScaleFormat {
        self.format
    }

    pub(super) fn global_scale(&self) -> f32 {
        self.global_scale
    }

    /// Codes of row `output`.
    #[inline(always)]
    pub(super) fn codes(&self, output: usize) -> &'a [u8] {
        let len = self.d_input / 2;
        &self.codes[output * len..][..len]
    }

    /// Scale bytes of row `output`.
    #[inline(always)]
    pub(super) fn scales(&self, output: usize) -> &'a [u8] {
        let len = self.d_input / self.format.block_size();
        &self.scales[output * len..][..len]
    }
}

impl ScaleFormat {
    /// Elements that share a scale.
    #[inline(always)]
    pub(in crate::product) const fn block_size(self) -> usize {
        match self {
            Self::E8m0 | Self::E4m3Of32 => 32,
            Self::E4m3Of16 => 16,
        }
    }

    /// Whether one of the scale bytes means NaN.
    pub(super) fn has_nan(self, scales: &[u8]) -> bool {
        match self {
            Self::E8m0 => scales.contains(&crate::codec::e8m0::NAN),
            Self::E4m3Of16 | Self::E4m3Of32 => scales
                .iter()
                .any(|byte| byte & crate::codec::e4m3::NAN == crate::codec::e4m3::NAN),
        }
    }
}
