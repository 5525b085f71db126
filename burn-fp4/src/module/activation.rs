//! Fake quantization of activations: block scales from the tensor at hand, the global scale from
//! calibration.

mod calibration;
mod format;
mod histogram;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};

use crate::codec::frozen::Frozen;
use crate::error::Fp4Error;
use crate::ops::{FakeQuantizer, fp8_fake_quantize, global_amax};
use crate::packed::host::read;

use calibration::Observed;

pub use calibration::Calibration;
pub use format::ActivationFormat;

/// What an [`ActivationQuantizer`] does to a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ActivationState {
    /// Passes the tensor on unchanged.
    #[default]
    Off,
    /// Passes the tensor on unchanged and observes its magnitudes.
    Calibrating,
    /// Quantizes with the largest magnitude of the tensor itself: one more pass, and not what a
    /// runtime with a static `input_scale` computes.
    Dynamic,
    /// Quantizes with the calibrated largest magnitude; larger elements saturate.
    Static,
}

/// Quantizes the input of a layer along its last axis, as inference with FP4 or FP8 activations does.
///
/// A Burn module: the calibrated magnitude is recorded and never trained. The state is not recorded;
/// after loading, [`enable`](Self::enable) takes the recorded magnitude into use. Gradients pass
/// straight through.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_fp4::{ActivationFormat, ActivationQuantizer, ActivationState, Calibration, Fp4Scheme};
///
/// let device = Device::flex();
/// let format = ActivationFormat::Fp4(Fp4Scheme::nvfp4());
/// let quantizer = ActivationQuantizer::new(format, Calibration::Max, &device)?.calibrate();
/// quantizer.forward(Tensor::<2>::ones([4, 32], &device) * 2.0);
/// let quantizer = quantizer.enable()?;
/// assert_eq!(quantizer.state(), ActivationState::Static);
/// assert_eq!(quantizer.input_scale()?, Some(2.0 / 2688.0));
/// # Ok::<(), burn_fp4::Fp4Error>(())
/// ```
#[derive(Module, Debug)]
pub struct ActivationQuantizer {
    /// Calibrated magnitude `[1]`; zero before calibration.
    amax: Frozen,
    #[module(skip)]
    format: ActivationFormat,
    #[module(skip)]
    calibration: Calibration,
    #[module(skip)]
    state: ActivationState,
    /// Shared by clones, because modules are used by reference and moved by copy.
    #[module(skip)]
    observed: Arc<Mutex<Observed>>,
}

impl ActivationQuantizer {
    /// A quantizer that is off and not calibrated.
    ///
    /// # Errors
    ///
    /// If the percentile of the calibration is not in `(0, 100]`.
    pub fn new(
        format: ActivationFormat,
        calibration: Calibration,
        device: &Device,
    ) -> Result<Self, Fp4Error> {
        calibration.check()?;
        let amax = Tensor::zeros([1], (device, DType::F32));
        Ok(Self {
            amax: Frozen::new(amax),
            format: format.per_tensor(),
            calibration,
            state: ActivationState::Off,
            observed: Arc::default(),
        })
    }

    /// Passes tensors on unchanged from now on; a calibrated magnitude stays.
    pub fn disable(mut self) -> Self {
        self.state = ActivationState::Off;
        self
    }

    /// Starts to observe tensors, which pass unchanged; what was observed before is forgotten. Clones
    /// made from now on observe together.
    pub fn calibrate(mut self) -> Self {
        self.state = ActivationState::Calibrating;
        self.observed = Arc::default();
        self
    }

    /// Ends calibration and quantizes from now on. The state becomes [`Static`](ActivationState::Static) if
    /// a magnitude is known: the observed one, else one from an earlier calibration or from a record. It
    /// becomes [`Dynamic`](ActivationState::Dynamic) if none is known, and for MXFP4, which has no global
    /// scale.
    ///
    /// Reads one number from the device.
    ///
    /// # Errors
    ///
    /// If the device fails, or a recorded magnitude is negative or not finite.
    pub fn enable(self) -> Result<Self, Fp4Error> {
        let observed = self.observed().amax(self.calibration)?;
        let quantizer = match observed {
            Some(amax) => self.with_amax(amax)?,
            None => self,
        };
        let state = match quantizer.host_amax()? {
            Some(_) if quantizer.format.input_scale(1.0).is_some() => ActivationState::Static,
            _ => ActivationState::Dynamic,
        };
        Ok(Self { state, ..quantizer })
    }

    /// Sets the largest magnitude, for instance that of another layer with the same input or of a
    /// checkpoint (`input_scale * 2688` for NVFP4, `input_scale * 448` for FP8). Zero means that
    /// there is none.
    ///
    /// # Errors
    ///
    /// If it is negative, infinite or NaN.
    pub fn with_amax(mut self, amax: f32) -> Result<Self, Fp4Error> {
        if !(amax.is_finite() && amax >= 0.0) {
            return Err(Fp4Error::GlobalAmax { value: amax });
        }
        let device = self.amax.val().device();
        let value = Tensor::full([1], amax, (&device, DType::F32));
        self.amax = self.amax.with_value(value);
        *self.observed() = Observed::default();
        Ok(self)
    }

    /// Quantizes, observes or passes a tensor on.
    ///
    /// # Shapes
    ///
    /// - x, output: `[..., len]`; in FP4 formats `len` is a multiple of the block size
    ///
    /// # Panics
    ///
    /// If a shape or dtype does not fit the format, or the device fails while a percentile is
    /// calibrated.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let amax = match self.state {
            ActivationState::Off => return x,
            ActivationState::Calibrating => {
                self.observed().observe(x.clone(), self.calibration);
                return x;
            }
            ActivationState::Dynamic => global_amax(x.clone(), &self.format.amax_scheme()),
            ActivationState::Static => self.amax.val(),
        };
        match self.format {
            ActivationFormat::Fp4(scheme) => {
                FakeQuantizer::new(scheme).forward_with_amax(x, amax, D - 1)
            }
            ActivationFormat::Fp8 => fp8_fake_quantize(x, amax),
        }
    }

    /// What a checkpoint stores as `input_scale`: the global scale for NVFP4 (`amax / 2688`, with
    /// [`FourOverSix`](crate::Nvfp4ScaleRule::FourOverSix) `amax / 1536`), `amax / 448` for FP8; none
    /// for MXFP4 and without calibration.
    ///
    /// # Errors
    ///
    /// If the device fails, or a recorded magnitude is negative or not finite.
    pub fn input_scale(&self) -> Result<Option<f32>, Fp4Error> {
        let amax = self.host_amax()?;
        Ok(amax.and_then(|amax| self.format.input_scale(amax)))
    }

    /// Calibrated magnitude, f32 `[1]`; zero before calibration.
    pub fn amax(&self) -> Tensor<1> {
        self.amax.val()
    }

    /// What it does to a tensor.
    pub fn state(&self) -> ActivationState {
        self.state
    }

    /// The format it rounds to.
    pub fn format(&self) -> ActivationFormat {
        self.format
    }

    /// The calibrated magnitude, unless it is zero.
    fn host_amax(&self) -> Result<Option<f32>, Fp4Error> {
        let values: Vec<f32> = read(self.amax.val().try_into_data())?;
        match values.first() {
            Some(&value) if !(value.is_finite() && value >= 0.0) => {
                Err(Fp4Error::GlobalAmax { value })
            }
            value => Ok(value.copied().filter(|&value| value > 0.0)),
        }
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        // Every change is complete before it can panic.
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests;
