//! Quantization of plain slices, with every choice that is not part of the format.

use crate::codec::amax::amax_of_parts;
use crate::codec::block_axis::{BlockAxis, check_len};
use crate::codec::clip_gradient::ClipGradient;
use crate::codec::element::Fp4Element;
use crate::codec::element::private::Lane;
use crate::codec::fake_quantize::FakeQuantize;
use crate::codec::format::with_format;
use crate::codec::non_finite::NonFinite;
use crate::error::Fp4Error;
use crate::packed::PackedFp4;
use crate::packed::{Pack, check_packed_len};
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalAmax;
use crate::written::try_written;

/// Quantizes slices: the reference of the crate, and what runs on a CPU.
///
/// ```
/// use burn_fp4::{Fp4Scheme, GlobalAmax, SliceQuantizer};
///
/// let values = [0.5f32; 32];
/// let quantizer = SliceQuantizer::new(Fp4Scheme::nvfp4()).with_global_amax(GlobalAmax::Frozen(vec![2.0]));
/// let packed = quantizer.quantize(&values, &[2, 16], 1)?;
/// assert_eq!(packed.dequantize(), quantizer.fake_quantize(&values, &[2, 16], 1)?);
/// # Ok::<(), burn_fp4::Fp4Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SliceQuantizer {
    scheme: Fp4Scheme,
    global_amax: GlobalAmax,
    non_finite: NonFinite,
}

impl SliceQuantizer {
    /// A quantizer with a dynamic global scale that refuses what is not finite.
    pub const fn new(scheme: Fp4Scheme) -> Self {
        Self {
            scheme,
            global_amax: GlobalAmax::Dynamic,
            non_finite: NonFinite::Error,
        }
    }

    /// Sets where the largest magnitude comes from that the global scale is made of.
    pub fn with_global_amax(mut self, global_amax: GlobalAmax) -> Self {
        self.global_amax = global_amax;
        self
    }

    /// Sets what happens to NaN and infinity.
    pub const fn with_non_finite(mut self, non_finite: NonFinite) -> Self {
        self.non_finite = non_finite;
        self
    }

    /// The numeric format.
    pub const fn scheme(&self) -> Fp4Scheme {
        self.scheme
    }

    /// Largest magnitude for each global scale; empty for MXFP4, which has none.
    ///
    /// # Shapes
    ///
    /// - values: `shape`, row-major
    /// - output: one magnitude per tensor or per index of the leading axis, see
    ///   [`GlobalScope`](crate::GlobalScope)
    ///
    /// # Errors
    ///
    /// If `values` does not have as many elements as `shape`.
    pub fn amax<T: Fp4Element>(&self, values: &[T], shape: &[usize]) -> Result<Vec<f32>, Fp4Error> {
        check_len("values", shape, values.len())?;
        match self.scheme.n_global_scales(shape) {
            0 => Ok(Vec::new()),
            n_scales => Ok(amax_of_parts(values, n_scales)),
        }
    }

    /// Rounds `values` to what the FP4 format can represent.
    ///
    /// The result equals packing and decoding again, bit for bit. A result beyond the range of `T` becomes
    /// infinite. This can happen only in a block whose largest magnitude is close to the end of that range.
    ///
    /// # Shapes
    ///
    /// - values: `shape`, row-major; blocks run along `axis`
    /// - output: `shape`
    ///
    /// # Errors
    ///
    /// If `axis` does not exist, its length is not a multiple of the block size, `values` does not
    /// have as many elements as `shape`, frozen magnitudes are unusable, or a value is not finite and
    /// that is an error.
    #[allow(unsafe_code)]
    pub fn fake_quantize<T: Fp4Element>(
        &self,
        values: &[T],
        shape: &[usize],
        axis: usize,
    ) -> Result<Vec<T>, Fp4Error> {
        let geometry = self.geometry(values, shape, axis)?;
        // SAFETY: every element of every block is set, or that is an error.
        unsafe {
            try_written(values.len(), |out| {
                self.fake_quantize_geometry(values, shape, geometry, out)
            })
        }
    }

    /// [`fake_quantize`](Self::fake_quantize) into memory that the caller has.
    ///
    /// # Shapes
    ///
    /// - values, out: `shape`, row-major; blocks run along `axis`
    ///
    /// # Errors
    ///
    /// Those of `fake_quantize`, and if `out` does not have as many elements as `shape`. What `out`
    /// holds after an error is unspecified.
    pub fn fake_quantize_into<T: Fp4Element>(
        &self,
        values: &[T],
        shape: &[usize],
        axis: usize,
        out: &mut [T],
    ) -> Result<(), Fp4Error> {
        let geometry = self.geometry(values, shape, axis)?;
        geometry.check_len("out", shape, out.len())?;
        self.fake_quantize_geometry(values, shape, geometry, out)
    }

    /// The saturation-aware gradient of [`fake_quantize`](Self::fake_quantize): `grad` where
    /// `|x| <= 6 * scale`, zero elsewhere.
    ///
    /// The scale of a block (in NVFP4 times the global scale) is recomputed from `values`. Elements
    /// that are not finite have gradient zero, whatever [`NonFinite`] says.
    ///
    /// # Shapes
    ///
    /// - values, grad: `shape`, row-major; blocks run along `axis`
    /// - output: `shape`
    ///
    /// # Errors
    ///
    /// Those of `fake_quantize`, apart from values that are not finite, and if `grad` does not have
    /// as many elements as `shape`.
    pub fn clip_gradient<T: Fp4Element>(
        &self,
        values: &[T],
        grad: &[T],
        shape: &[usize],
        axis: usize,
    ) -> Result<Vec<T>, Fp4Error> {
        let geometry = self.geometry(values, shape, axis)?;
        geometry.check_len("grad", shape, grad.len())?;
        let global_scales = self.global_scales(values, shape)?;
        let mut out = T::zeros(values.len());
        if !values.is_empty() {
            let task = ClipGradient {
                values,
                grad,
                out: &mut out,
                geometry,
            };
            with_format(&self.scheme, &global_scales, task);
        }
        Ok(out)
    }

    /// Quantizes `values` and moves the block axis last.
    ///
    /// A block of zeros gets scale byte 0 in MXFP4 and the scale 1 in NVFP4. Zeros keep their signs
    /// in MXFP4; in NVFP4 they are positive.
    ///
    /// # Shapes
    ///
    /// - values: `shape`, row-major; blocks run along `axis`
    /// - result: `shape` with `axis` moved to the end; `[E, in, out]` with axis 1 becomes
    ///   `[E, out, in]`, as in a gpt-oss checkpoint
    ///
    /// # Errors
    ///
    /// Those of [`fake_quantize`](Self::fake_quantize).
    pub fn quantize<T: Fp4Element>(
        &self,
        values: &[T],
        shape: &[usize],
        axis: usize,
    ) -> Result<PackedFp4, Fp4Error> {
        let mut codes = vec![0; values.len() / 2];
        let mut scales = vec![0; values.len() / self.scheme.block_size()];
        let global_scales = self.quantize_into(values, shape, axis, &mut codes, &mut scales)?;
        let mut logical = shape.to_vec();
        let len = logical.remove(axis);
        logical.push(len);
        PackedFp4::from_parts_with_global(self.scheme, logical, codes, scales, global_scales)
    }

    /// [`quantize`](Self::quantize) into buffers of the caller; returns the global scales. Buffers that are
    /// reused from one tensor to the next save time: the first write to fresh memory can cost more than
    /// packing.
    ///
    /// # Shapes
    ///
    /// - values: `shape`, row-major; blocks run along `axis`
    /// - codes: half a byte for every element, `axis` moved last
    /// - scales: one byte for every block, `axis` moved last
    ///
    /// # Errors
    ///
    /// Those of `quantize`, and if `codes` or `scales` have the wrong length. What they hold after an
    /// error is unspecified.
    pub fn quantize_into<T: Fp4Element>(
        &self,
        values: &[T],
        shape: &[usize],
        axis: usize,
        codes: &mut [u8],
        scales: &mut [u8],
    ) -> Result<Vec<f32>, Fp4Error> {
        let geometry = self.geometry(values, shape, axis)?;
        check_packed_len(&self.scheme, shape, geometry, (codes, scales))?;
        let global_scales = self.global_scales(values, shape)?;
        if !values.is_empty() {
            let pack = Pack {
                values,
                geometry,
                codes,
                scales,
            };
            let finite = with_format(&self.scheme, &global_scales, pack);
            self.check_finite(finite, values)?;
        }
        Ok(global_scales)
    }

    fn fake_quantize_geometry<T: Fp4Element>(
        &self,
        values: &[T],
        shape: &[usize],
        geometry: BlockAxis,
        out: &mut [T],
    ) -> Result<(), Fp4Error> {
        let global_scales = self.global_scales(values, shape)?;
        if values.is_empty() {
            return Ok(());
        }
        let task = FakeQuantize {
            values,
            out,
            geometry,
        };
        let finite = with_format(&self.scheme, &global_scales, task);
        self.check_finite(finite, values)
    }

    /// Global scale of every part that has its own; empty for MXFP4.
    pub(crate) fn global_scales<T: Fp4Element>(
        &self,
        values: &[T],
        shape: &[usize],
    ) -> Result<Vec<f32>, Fp4Error> {
        let Fp4Scheme::Nvfp4 { scale_rule, .. } = self.scheme else {
            return Ok(Vec::new());
        };
        let n_scales = self.scheme.n_global_scales(shape);
        self.global_amax.check(n_scales)?;
        let amax = match &self.global_amax {
            GlobalAmax::Dynamic => amax_of_parts(values, n_scales),
            GlobalAmax::Frozen(amax) => amax.clone(),
        };
        Ok(amax
            .into_iter()
            .map(|amax| scale_rule.global_scale(amax))
            .collect())
    }

    pub(crate) fn geometry<T: Fp4Element>(
        &self,
        values: &[T],
        shape: &[usize],
        axis: usize,
    ) -> Result<BlockAxis, Fp4Error> {
        let geometry = BlockAxis::new(shape, axis, &self.scheme)?;
        geometry.check_len("values", shape, values.len())?;
        Ok(geometry)
    }

    pub(crate) fn check_finite<T: Lane>(&self, finite: bool, values: &[T]) -> Result<(), Fp4Error> {
        if finite || self.non_finite == NonFinite::Saturate {
            return Ok(());
        }
        let position = values.iter().position(|x| !x.widen().is_finite());
        let index = position.unwrap_or_default();
        Err(Fp4Error::NonFinite {
            index,
            value: values[index].widen(),
        })
    }
}
