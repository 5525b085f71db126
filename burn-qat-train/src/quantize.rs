//! Which weights are fake-quantized, and how the quantizers get into a model.

mod gptq;
mod insert;
mod policy;
mod ptq;

pub use burn_fp4::{GlobalRefresh, WeightQuantizer};
pub use gptq::gptq;
pub use insert::{QuantizedWeight, insert_quantizers, insert_quantizers_with};
pub(crate) use policy::ParameterPaths;
pub use policy::{QuantPolicy, QuantRule};
pub use ptq::PtqMethod;
