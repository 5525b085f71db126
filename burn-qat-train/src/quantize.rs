//! Which weights are fake-quantized, and how the quantizers get into a model.

mod insert;
mod policy;

pub use insert::{QuantizedWeight, WeightQuantizer, insert_quantizers};
pub use policy::{QuantPolicy, QuantRule};
