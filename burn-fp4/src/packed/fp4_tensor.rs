//! Packed tensors on a device.

use burn::backend::Dispatch;
use burn::module::{Module, Param, ParamId};
use burn::tensor::{Bytes, DType, Device, FloatDType, Int, Tensor, TensorData};

use crate::codec::block_axis::BlockAxis;
use crate::codec::frozen::Frozen;
use crate::error::Fp4Error;
use crate::ops::{Fp4Backend, Fp4Primitive, global_amax};
use crate::packed::host::read;
use crate::packed::{PackedFp4, PackedFp4Ref};
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalScope;

/// A tensor in FP4 on a device: what [`PackedFp4`] is on the host.
///
/// A Burn module, so that models hold it, move it and record it in packed form. Nothing in it is
/// trained: codes and scales are integers, and global scales stay frozen. The layout is that of
/// [`PackedFp4`], block axis last; the scheme is a constant and not part of a record.
///
/// `D` is the rank of the logical shape.
#[derive(Module, Debug)]
pub struct Fp4Tensor<const D: usize> {
    codes: Param<Tensor<D, Int>>,
    scales: Param<Tensor<D, Int>>,
    global_scales: Option<Frozen>,
    #[module(skip)]
    scheme: Fp4Scheme,
}

impl<const D: usize> Fp4Tensor<D> {
    /// A tensor of zeros to load a record into. Its codes and scales are allocated when they are first read.
    ///
    /// # Shapes
    ///
    /// - shape: `[..., len]`, logical elements, block axis last
    ///
    /// # Errors
    ///
    /// If `len` is not a multiple of the block size.
    pub fn zeros(shape: [usize; D], scheme: Fp4Scheme, device: &Device) -> Result<Self, Fp4Error> {
        BlockAxis::new(&shape, D.saturating_sub(1), &scheme)?;
        let bytes = |elements_per_byte: usize| {
            let shape = with_last(shape, |len| len / elements_per_byte);
            let zeros = move |device: &Device, _| Tensor::zeros(shape, (device, DType::U8));
            Param::uninitialized(ParamId::new(), zeros, device.clone(), false, shape.into())
        };
        let global_scales = match scheme.n_global_scales(&shape) {
            0 => None,
            n => Some(Frozen::new(Tensor::zeros([n], (device, DType::F32)))),
        };
        Ok(Self {
            codes: bytes(2),
            scales: bytes(scheme.block_size()),
            global_scales,
            scheme,
        })
    }

    /// Copies a packed tensor to a device, byte for byte.
    ///
    /// # Errors
    ///
    /// If the rank of `packed` is not `D`.
    pub fn from_packed(packed: PackedFp4, device: &Device) -> Result<Self, Fp4Error> {
        let scheme = packed.scheme();
        let shape: [usize; D] = packed.shape().try_into().map_err(|_| Fp4Error::Rank {
            expected: D,
            shape: packed.shape().to_vec(),
        })?;
        let global_scales = packed.global_scales().to_vec();
        let (codes, scales) = packed.into_parts();
        let bytes = (Bytes::from_bytes_vec(codes), Bytes::from_bytes_vec(scales));
        Self::from_bytes(scheme, shape, bytes, &global_scales, device)
    }

    /// Puts a tensor together from the bytes of [`PackedFp4`], which Burn's CPU backend Flex takes as they
    /// are: those of a memory-mapped file stay there, without a copy.
    ///
    /// # Shapes
    ///
    /// - shape: `[..., len]`, logical elements, block axis last
    /// - codes: `[..., len / 2]` bytes
    /// - scales: `[..., len / block_size]` bytes
    ///
    /// # Errors
    ///
    /// Those of [`PackedFp4::from_parts_with_global`].
    pub fn from_bytes(
        scheme: Fp4Scheme,
        shape: [usize; D],
        (codes, scales): (Bytes, Bytes),
        global_scales: &[f32],
        device: &Device,
    ) -> Result<Self, Fp4Error> {
        let (all, values) = (shape.to_vec(), global_scales.to_vec());
        PackedFp4Ref::from_parts_with_global(scheme, all, &codes, &scales, values)?;
        let global_scales = match global_scales {
            [] => None,
            scales => {
                let data = TensorData::new(scales.to_vec(), [scales.len()]);
                Some(Frozen::new(Tensor::from_data(data, (device, DType::F32))))
            }
        };
        let tensor = |bytes: Bytes, shape: [usize; D]| {
            let data = TensorData::from_bytes(bytes, shape, DType::U8);
            // Without a dtype they would become the device's default integer type.
            Param::initialized(ParamId::new(), Tensor::from_data(data, (device, DType::U8)))
        };
        Ok(Self {
            codes: tensor(codes, with_last(shape, |len| len / 2)),
            scales: tensor(scales, with_last(shape, |len| len / scheme.block_size())),
            global_scales,
            scheme,
        })
    }

    /// Copies the tensor to the host, byte for byte.
    ///
    /// # Errors
    ///
    /// If the device fails, or a record with bytes of another layout was loaded.
    pub fn to_packed(&self) -> Result<PackedFp4, Fp4Error> {
        let global_scales = match &self.global_scales {
            None => Vec::new(),
            Some(scales) => read(scales.val().try_into_data())?,
        };
        let codes = read(self.codes.val().try_into_data())?;
        let scales = read(self.scales.val().try_into_data())?;
        let shape = self.shape().to_vec();
        PackedFp4::from_parts_with_global(self.scheme, shape, codes, scales, global_scales)
    }

    /// Packs a tensor in blocks along `axis`, its largest magnitude found anew; see
    /// [`quantize_with_amax`](Self::quantize_with_amax).
    ///
    /// # Shapes
    ///
    /// - tensor: `[..., len, ...]` with `len` at position `axis`
    /// - result: `axis` moved last
    ///
    /// # Panics
    ///
    /// Those of [`FakeQuantizer::forward`](crate::FakeQuantizer::forward).
    pub fn quantize(tensor: Tensor<D>, axis: usize, scheme: &Fp4Scheme) -> Self {
        let amax = global_amax(tensor.clone(), scheme);
        Self::quantize_with_amax(tensor, amax, axis, scheme)
    }

    /// Packs a tensor in blocks along `axis`, its largest magnitude given.
    ///
    /// Decoding gives what [`FakeQuantizer`](crate::FakeQuantizer) gives, bit for bit. NaN and infinity
    /// saturate, because a device cannot report them without a stop;
    /// [`PackedFp4::quantize`] refuses them. No gradient passes.
    ///
    /// # Shapes
    ///
    /// - tensor: `[..., len, ...]` with `len` at position `axis`
    /// - amax: f32, as [`global_amax`] returns it
    /// - result: `axis` moved last
    ///
    /// # Panics
    ///
    /// Those of [`FakeQuantizer::forward_with_amax`](crate::FakeQuantizer::forward_with_amax).
    pub fn quantize_with_amax(
        tensor: Tensor<D>,
        amax: Tensor<1>,
        axis: usize,
        scheme: &Fp4Scheme,
    ) -> Self {
        let shape = tensor.dims();
        if let Err(error) = BlockAxis::new(&shape, axis, scheme) {
            panic!("quantize: {error}");
        }
        let (tensor, amax) = (tensor.into_dispatch(), amax.into_dispatch());
        Self::from_primitive(Dispatch::fp4_quantize(tensor, amax, axis, *scheme), *scheme)
    }

    /// The tensor that an operation of a backend returned.
    pub(crate) fn from_primitive(packed: Fp4Primitive<Dispatch>, scheme: Fp4Scheme) -> Self {
        let bytes = |tensor| Param::initialized(ParamId::new(), Tensor::from_dispatch(tensor));
        let global_scales = match scheme {
            Fp4Scheme::Mxfp4 { .. } => None,
            Fp4Scheme::Nvfp4 { .. } => {
                Some(Frozen::new(Tensor::from_dispatch(packed.global_scales)))
            }
        };
        Self {
            codes: bytes(packed.codes),
            scales: bytes(packed.scales),
            global_scales,
            scheme,
        }
    }

    /// Decodes with the block axis moved from the end to `axis`; no gradient.
    ///
    /// # Shapes
    ///
    /// - output: `[..., len, ...]` with `len` at position `axis`
    ///
    /// # Panics
    ///
    /// If `axis` does not exist, `dtype` is not `F32`, `BF16` or `F16`, or the backend does not
    /// implement [`Fp4Backend`].
    pub fn dequantize(&self, axis: usize, dtype: FloatDType) -> Tensor<D> {
        let packed = self.primitive();
        Tensor::from_dispatch(Dispatch::fp4_dequantize(packed, axis, dtype, self.scheme))
    }

    /// The same bytes with other axes before the last two.
    pub(crate) fn with_axes<const E: usize>(&self, shape: [usize; E]) -> Fp4Tensor<E> {
        let bytes = |param: &Param<Tensor<D, Int>>, elements_per_byte: usize| {
            let shape = with_last(shape, |len| len / elements_per_byte);
            Param::initialized(ParamId::new(), param.val().reshape(shape))
        };
        Fp4Tensor {
            codes: bytes(&self.codes, 2),
            scales: bytes(&self.scales, self.scheme.block_size()),
            global_scales: self.global_scales.clone(),
            scheme: self.scheme,
        }
    }

    /// Logical shape in elements, block axis last.
    pub fn shape(&self) -> [usize; D] {
        with_last(self.codes.lazy_shape().dims(), |len| len * 2)
    }

    /// The numeric format.
    pub fn scheme(&self) -> Fp4Scheme {
        self.scheme
    }

    /// Codes, U8 `[..., len / 2]`, low nibble first.
    pub fn codes(&self) -> Tensor<D, Int> {
        self.codes.val()
    }

    /// Scale bytes, U8 `[..., len / block_size]`.
    pub fn scales(&self) -> Tensor<D, Int> {
        self.scales.val()
    }

    /// Global scales, f32 `[n]`; none for MXFP4.
    pub fn global_scales(&self) -> Option<Tensor<1>> {
        self.global_scales.as_ref().map(Frozen::val)
    }

    /// What the operations of a backend take: see [`Fp4Backend`], and backend extensions of other
    /// crates. MXFP4 has one global scale here that nothing reads.
    pub fn primitive(&self) -> Fp4Primitive<Dispatch> {
        let codes = self.codes.val();
        let unread = || Tensor::ones([1], (&codes.device(), DType::F32));
        let global_scales = self.global_scales().unwrap_or_else(unread);
        Fp4Primitive {
            codes: codes.into_dispatch(),
            scales: self.scales.val().into_dispatch(),
            global_scales: global_scales.into_dispatch(),
        }
    }
}

impl Fp4Tensor<2> {
    /// The codes with a global scale of one, and the global scale of every row, if each has its own.
    pub(crate) fn row_scales(&self) -> Option<(Self, Tensor<1>)> {
        let scales = self.global_scales()?;
        if !self.scheme.has_expert_scales() {
            return None;
        }
        let one = Tensor::ones([1], (&scales.device(), DType::F32));
        let codes = Self {
            codes: self.codes.clone(),
            scales: self.scales.clone(),
            global_scales: Some(Frozen::new(one)),
            scheme: self.scheme.with_global_scope(GlobalScope::Tensor),
        };
        Some((codes, scales))
    }
}

fn with_last<const D: usize>(mut shape: [usize; D], len: impl Fn(usize) -> usize) -> [usize; D] {
    if let Some(last) = shape.last_mut() {
        *last = len(*last);
    }
    shape
}

#[cfg(all(test, feature = "flex"))]
mod tests;
