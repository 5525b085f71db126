//! Quantizers on the inputs of the experts, switched in all blocks at once.

use burn::tensor::Device;
use burn_fp4::{ActivationFormat, ActivationQuantizer, Calibration, Fp4Error};

use super::GptOss;
use crate::error::GptOssError;

/// What is on the two inputs of a block, with the names of the projections.
type Quantizers<'a> = [(&'static str, &'a mut Option<ActivationQuantizer>); 2];

impl GptOss {
    /// Puts a quantizer on the input of `gate_up_proj` and one on the input of `down_proj` in every
    /// block, which the experts of the block share; they are off and not calibrated. With FP4 weights
    /// this is W4A4 or W4A8.
    ///
    /// ```text
    /// let model = model.with_activation_quantizers(ActivationFormat::Fp8, Calibration::Max)?;
    /// let model = model.calibrate_activations();
    /// for batch in batches { model.forward(batch, None); }
    /// let model = model.enable_activations()?;
    /// ```
    ///
    /// # Errors
    /// If a width is not a multiple of the block size, or the percentile not in `(0, 100]`.
    pub fn with_activation_quantizers(
        mut self,
        format: ActivationFormat,
        calibration: Calibration,
    ) -> Result<Self, GptOssError> {
        self.check_widths(format)?;
        self.try_each(|path, quantizer, device| {
            let new = ActivationQuantizer::new(format, calibration, device);
            *quantizer = Some(new.map_err(GptOssError::fp4(path))?);
            Ok(())
        })?;
        Ok(self)
    }

    /// Starts to observe the inputs of the experts; see [`ActivationQuantizer::calibrate`].
    pub fn calibrate_activations(self) -> Self {
        self.switched(ActivationQuantizer::calibrate)
    }

    /// Ends calibration and quantizes from now on; see [`ActivationQuantizer::enable`].
    ///
    /// # Errors
    /// If the device fails, or a recorded magnitude is negative or not finite.
    pub fn enable_activations(mut self) -> Result<Self, GptOssError> {
        self.try_each(|path, quantizer, _| {
            let enabled = quantizer.take().map(ActivationQuantizer::enable);
            *quantizer = enabled.transpose().map_err(GptOssError::fp4(path))?;
            Ok(())
        })?;
        Ok(self)
    }

    /// Computes with unquantized inputs from now on; calibrated magnitudes stay.
    pub fn disable_activations(self) -> Self {
        self.switched(ActivationQuantizer::disable)
    }

    /// Removes the quantizers, as if they had never been.
    pub fn without_activation_quantizers(mut self) -> Self {
        for block in &mut self.layers {
            block.mlp.experts.gate_up_proj_input_quantizer = None;
            block.mlp.experts.down_proj_input_quantizer = None;
        }
        self
    }

    /// The static scales of the inputs, by the names ModelOpt gives them in a checkpoint:
    /// `model.layers.0.mlp.experts.gate_up_proj_input_scale`. Empty without calibrated quantizers and
    /// in MXFP4, which has no such scale.
    ///
    /// # Errors
    /// If the device fails, or a recorded magnitude is negative or not finite.
    pub fn input_scales(&self) -> Result<Vec<(String, f32)>, GptOssError> {
        let mut scales = Vec::new();
        for (path, quantizer) in self.activation_quantizers() {
            let name = scale_name(&path);
            let scale = quantizer.input_scale().map_err(GptOssError::fp4(&name))?;
            scales.extend(scale.map(|scale| (name, scale)));
        }
        Ok(scales)
    }

    /// Sets the magnitudes of quantizers from scales of this kind and quantizes with them from now on, as a
    /// model does that is loaded from a checkpoint with these scales.
    ///
    /// # Errors
    /// A scale that is negative or not finite, or none for one of the quantizers.
    pub fn with_input_scales(mut self, scales: &[(String, f32)]) -> Result<Self, GptOssError> {
        self.try_each(|path, quantizer, _| {
            let Some(found) = quantizer.take() else {
                return Ok(());
            };
            let name = scale_name(path);
            let scale = scales.iter().find(|(of, _)| *of == name);
            let (_, scale) = scale.ok_or_else(|| GptOssError::Unsupported {
                what: format!("a model without `{name}`"),
                hint: "calibrate its inputs".into(),
            })?;
            let set = with_input_scale(found, *scale).and_then(ActivationQuantizer::enable);
            *quantizer = Some(set.map_err(GptOssError::fp4(&name))?);
            Ok(())
        })?;
        Ok(self)
    }

    /// All quantizers on inputs with their module paths.
    pub fn activation_quantizers(&self) -> impl Iterator<Item = (String, &ActivationQuantizer)> {
        let blocks = self.layers.iter().enumerate();
        blocks.flat_map(|(layer, block)| {
            let experts = &block.mlp.experts;
            let both = [
                ("gate_up_proj", &experts.gate_up_proj_input_quantizer),
                ("down_proj", &experts.down_proj_input_quantizer),
            ];
            both.into_iter().filter_map(move |(name, quantizer)| {
                let path = format!("layers.{layer}.mlp.experts.{name}_input_quantizer");
                Some((path, quantizer.as_ref()?))
            })
        })
    }

    fn check_widths(&self, format: ActivationFormat) -> Result<(), GptOssError> {
        let ActivationFormat::Fp4(scheme) = format else {
            return Ok(());
        };
        let config = self.config();
        for (key, width) in [
            ("hidden_size", config.hidden_size),
            ("intermediate_size", config.intermediate_size),
        ] {
            if !width.is_multiple_of(scheme.block_size()) {
                return Err(GptOssError::Config {
                    key: key.into(),
                    expected: format!("a multiple of {} for {scheme}", scheme.block_size()),
                    found: width.to_string(),
                });
            }
        }
        Ok(())
    }

    fn switched(mut self, switch: fn(ActivationQuantizer) -> ActivationQuantizer) -> Self {
        for block in &mut self.layers {
            for (_, quantizer) in quantizers(&mut block.mlp.experts) {
                *quantizer = quantizer.take().map(switch);
            }
        }
        self
    }

    /// Calls `change` with the path of every input, what is on it, and its device.
    fn try_each(
        &mut self,
        change: impl Fn(&str, &mut Option<ActivationQuantizer>, &Device) -> Result<(), GptOssError>,
    ) -> Result<(), GptOssError> {
        for (layer, block) in self.layers.iter_mut().enumerate() {
            let device = block.mlp.experts.down_proj_bias.lazy_device();
            for (name, quantizer) in quantizers(&mut block.mlp.experts) {
                let path = format!("layers.{layer}.mlp.experts.{name}_input_quantizer");
                change(&path, quantizer, &device)?;
            }
        }
        Ok(())
    }
}

/// A quantizer with the magnitude that has this scale in its format: 2688 or 1536 times the scale in NVFP4, 448 in FP8.
fn with_input_scale(
    quantizer: ActivationQuantizer,
    scale: f32,
) -> Result<ActivationQuantizer, Fp4Error> {
    let of_one = quantizer.with_amax(1.0)?;
    match of_one.input_scale()? {
        Some(of_magnitude_one) => of_one.with_amax(scale * (1.0 / of_magnitude_one).round()),
        None => Ok(of_one),
    }
}

/// The name of the tensor that holds the scale of a quantizer.
fn scale_name(path: &str) -> String {
    let path = path.strip_suffix("_quantizer").unwrap_or(path);
    format!("model.{path}_scale")
}

fn quantizers(experts: &mut super::Experts) -> Quantizers<'_> {
    [
        ("gate_up_proj", &mut experts.gate_up_proj_input_quantizer),
        ("down_proj", &mut experts.down_proj_input_quantizer),
    ]
}
