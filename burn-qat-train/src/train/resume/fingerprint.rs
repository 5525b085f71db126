use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Int, Tensor};
use burn_gpt_oss::GptOss;
use serde::{Deserialize, Serialize};

use crate::adapt::is_factor;
use crate::data::TokenizedExample;
use crate::fnv::Fnv;

/// What a run was started with, as numbers that tell other data and other models apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    /// Tokens and masks of the training data.
    pub training_data: String,
    /// Those of the validation data.
    pub validation_data: String,
    /// Names and shapes of all parameters, and the values of those with one axis: norms and biases.
    pub model: String,
    /// Those of the teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<String>,
}

impl Fingerprint {
    pub fn new(model: &GptOss, train: &[TokenizedExample], valid: &[TokenizedExample]) -> Self {
        Self {
            training_data: of_data(train),
            validation_data: of_data(valid),
            model: of_model(model, false),
            teacher: None,
        }
    }

    /// Adds the teacher's.
    pub fn learns_from(&mut self, teacher: &GptOss) {
        self.teacher = Some(of_model(teacher, true));
    }
}

/// The factors of a student are what the state brings.
fn of_model(model: &GptOss, with_factors: bool) -> String {
    let mut parameters = Parameters {
        with_factors,
        ..Parameters::default()
    };
    model.visit(&mut parameters);
    parameters.hash.text()
}

fn of_data(examples: &[TokenizedExample]) -> String {
    let mut hash = Fnv::default();
    for example in examples {
        hash.add(&(example.tokens.len() as u64).to_le_bytes());
        for token in &example.tokens {
            hash.add(&token.to_le_bytes());
        }
        for is_target in &example.loss_mask {
            hash.add(&[u8::from(*is_target)]);
        }
    }
    hash.text()
}

#[derive(Default)]
struct Parameters {
    path: Vec<String>,
    hash: Fnv,
    with_factors: bool,
}

impl Parameters {
    fn name(&mut self, shape: &[usize]) -> String {
        let path = self.path.join(".");
        self.hash.add(format!("{path}{shape:?}").as_bytes());
        path
    }
}

impl ModuleVisitor for Parameters {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.name(&param.lazy_shape());
        let is_read = match is_factor(&path) {
            true => self.with_factors,
            false => D == 1,
        };
        if !is_read {
            return;
        }
        // A device that cannot be read fails in the first step, with a better message.
        if let Ok(values) = param.base().try_into_vec_as::<f32>() {
            for value in &values {
                self.hash.add(&value.to_bits().to_le_bytes());
            }
        }
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.name(&param.lazy_shape());
    }
}
