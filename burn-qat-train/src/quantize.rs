//! Which weights are fake-quantized, and how the quantizers get into a model.

mod insert;
mod policy;

pub use burn_fp4::{GlobalRefresh, WeightQuantizer};
pub use insert::{QuantizedWeight, insert_quantizers, insert_quantizers_with};
pub use policy::{QuantPolicy, QuantRule};
