//! Which weights are fake-quantized, and how the quantizers get into a model.

mod calibrate;
mod gptq;
mod insert;
mod policy;
mod ptq;

pub use burn_fp4::{ActivationFormat, GlobalRefresh, GradientRule, WeightQuantizer};
pub use calibrate::calibrate_activations;
pub use gptq::gptq;
pub use insert::{QuantizedWeight, QuantizerOptions, insert_quantizers, insert_quantizers_with};
pub(crate) use policy::ParameterPaths;
pub use policy::{QuantPolicy, QuantRule};
pub use ptq::PtqMethod;
