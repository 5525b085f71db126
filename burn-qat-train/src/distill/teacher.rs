use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use burn_fp4::LowRankAdapter;
use burn_gpt_oss::GptOss;

use super::DistillConfig;
use super::head::{Head, distilled};
use crate::data::MicroBatch;
use crate::error::QatError;
use crate::train::documents::hidden_states;

/// A frozen model that a student learns from. Packed experts can stay in their file:
/// [`load_stored`](burn_gpt_oss::CheckpointReader::load_stored).
#[derive(Clone, Debug)]
pub struct Teacher {
    model: GptOss,
}

impl Teacher {
    /// A model as it is, quantizers and adapters included.
    pub fn new(model: GptOss) -> Self {
        let devices = model.devices();
        let model = match devices.iter().any(Device::is_autodiff) {
            true => model.valid(),
            false => model,
        };
        Self { model }
    }

    /// The model.
    pub fn model(&self) -> &GptOss {
        &self.model
    }

    /// Fails unless a student has the same tokens.
    pub(crate) fn check(&self, student: &GptOss) -> Result<(), QatError> {
        let [teacher, student] = [&self.model, student].map(|model| model.config().vocab_size);
        match teacher == student {
            true => Ok(()),
            false => Err(QatError::Setting {
                key: "teacher",
                expected: format!("a model with the student's {student} tokens"),
                found: format!("one with {teacher}"),
            }),
        }
    }

    /// The summed loss of a student's rows with targets.
    ///
    /// # Shapes
    /// - rows: `[targets, hidden_size]`, the student's hidden states after the final norm
    /// - output: `[1]`
    pub(crate) fn loss(
        &self,
        config: &DistillConfig,
        student: &GptOss,
        rows: Tensor<2>,
        batch: &MicroBatch,
    ) -> Tensor<1> {
        let batch = batch.without_autodiff();
        let hidden = hidden_states(&self.model, &batch, |_| {});
        let [sequences, len, width] = hidden.dims();
        let hidden = hidden.reshape([sequences * len, width]);
        let teacher = Head {
            rows: hidden.select(0, batch.target_rows),
            matrix: self.model.lm_head.weight.val(),
        };
        let head = &student.lm_head.weight;
        let student = Head {
            rows,
            matrix: head.val(),
        };
        distilled(config, &teacher, student, (batch.targets, is_trained(head)))
    }
}

/// Whether a matrix has a gradient: by itself, or by its adapter.
fn is_trained(weight: &Param<Tensor<2>>) -> bool {
    weight.is_require_grad() || weight.reparameterization::<LowRankAdapter<2>>().is_some()
}
