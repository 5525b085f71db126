use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::adapt::is_factor;
use crate::error::QatError;
use crate::fnv::Fnv;
use crate::train::{ExampleData, Trainable};

/// What a run was started with, as numbers that tell other data and other models apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    /// The examples of the training data.
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
    pub fn new<M: Trainable>(
        model: &M,
        train: &ExampleData<M::Example>,
        valid: &ExampleData<M::Example>,
    ) -> Result<Self, QatError> {
        Ok(Self {
            training_data: of_data("training data", train)?,
            validation_data: of_data("validation data", valid)?,
            model: of_model(model, false),
            teacher: None,
        })
    }

    /// Adds the teacher's.
    pub fn learns_from<M: Module>(&mut self, teacher: &M) {
        self.teacher = Some(of_model(teacher, true));
    }
}

/// The factors of a student are what the state brings.
fn of_model<M: Module>(model: &M, with_factors: bool) -> String {
    let mut parameters = Parameters {
        with_factors,
        ..Parameters::default()
    };
    model.visit(&mut parameters);
    parameters.hash.text()
}

fn of_data<E: Serialize>(key: &'static str, examples: &ExampleData<E>) -> Result<String, QatError> {
    if let Some(known) = examples.fingerprint() {
        return Ok(known.to_owned());
    }
    let mut hash = Fnv::default();
    for example in examples.iter() {
        let example = example.map_err(|error| QatError::examples(key, &error))?;
        let written = serde_json::to_writer(&mut hash, &example);
        hash.add(b"\n");
        written.map_err(|error| QatError::Setting {
            key,
            expected: "examples that can be written as JSON, to tell data apart".into(),
            found: error.to_string(),
        })?;
    }
    Ok(hash.text())
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
