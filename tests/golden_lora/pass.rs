//! Logits, loss and gradients of one pass.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use burn_gpt_oss::{AdapterCheckpoint, AdapterDialect, Factors, GptOss};
use safetensors::SafeTensors;

use crate::deviation::Deviations;
use crate::golden::Golden;
use crate::model::{cross_entropy, device, scalar, values};
use crate::{BASES, EXPECTED, adapted, adapter, batch, rounded};

const LOGITS: f64 = 2e-4;
const LOSS: f64 = 1e-5;
/// Relative to the largest magnitude of each tensor's gradient.
const GRADIENTS: f64 = 1e-3;

pub struct Pass {
    pub logits: Tensor<3>,
    pub ce: Tensor<1>,
}

pub fn pass(model: &GptOss, device: &Device) -> Pass {
    let batch = batch();
    let logits = model.forward(batch.ids(device), Some(batch.mask(device)));
    let ce = cross_entropy(logits.clone(), batch.labels.as_ref().unwrap());
    Pass { logits, ce }
}

#[test]
fn adapters_without_rounding_equal_peft() {
    for (name, base) in BASES {
        let device = device().autodiff();
        check(
            &format!("lora, {name}"),
            &adapted(base, &device),
            "lora",
            "default.",
            &device,
        );
    }
}

#[test]
fn adapters_with_rounding_equal_torch() {
    for (name, base) in BASES {
        let device = device().autodiff();
        check(
            &format!("qat, {name}"),
            &rounded(base, &device),
            "qat",
            "",
            &device,
        );
    }
}

#[test]
fn checkpointing_changes_nothing() {
    let plain = device().autodiff();
    let checkpointing = device().autodiff().gradient_checkpointing();
    let found = [plain, checkpointing].map(|device| {
        let model = rounded(BASES[2].1, &device);
        let pass = pass(&model, &device);
        gradients(
            &model,
            GradientsParams::from_grads(pass.ce.backward(), &model),
        )
    });
    assert_eq!(found[0], found[1]);
}

fn check(title: &str, model: &GptOss, prefix: &str, infix: &str, device: &Device) {
    let golden = Golden::open(EXPECTED);
    let mut deviations = Deviations::new(title);
    let pass = pass(model, device);
    let expected = golden.f32(&format!("{prefix}.logits"));
    assert_eq!(pass.logits.dims().as_slice(), expected.shape);
    let found = values(&pass.logits);
    deviations.compare("logits", "logits", (&found, &expected.values), LOGITS);
    let ce = f64::from(golden.f32(&format!("{prefix}.ce")).scalar());
    deviations.scalar("ce", scalar(&pass.ce), ce, LOSS);

    let grads = GradientsParams::from_grads(pass.ce.backward(), model);
    let found = in_names_of_peft(model, gradients(model, grads));
    let prefix = format!("{prefix}.grad.");
    let keys = golden.keys(&prefix);
    assert_eq!(keys.len(), found.len(), "{title}: gradients");
    for key in keys {
        let name = key[prefix.len()..].replace(&format!(".{infix}weight"), ".weight");
        let (shape, found) = &found[&name];
        let expected = golden.f32(&key);
        assert_eq!(*shape, expected.shape, "{title}: shape of `{key}`");
        let largest = expected
            .values
            .iter()
            .fold(0f32, |max, value| max.max(value.abs()));
        assert!(largest > 0.0, "`{key}` is zero everywhere");
        let relative = |values: &[f32]| values.iter().map(|v| v / largest).collect::<Vec<_>>();
        let pair = (relative(found), relative(&expected.values));
        deviations.compare("gradients", &key, (&pair.0, &pair.1), GRADIENTS);
    }
}

/// Gradients in the place of factors.
fn gradients(model: &GptOss, grads: GradientsParams) -> BTreeMap<String, Factors> {
    let mut found = FactorGradients {
        grads,
        path: Vec::new(),
        found: BTreeMap::new(),
    };
    model.visit(&mut found);
    let mut factors = adapter(model).factors;
    for (path, factors) in &mut factors {
        let mut of = |name: &str| found.found.remove(&format!("{path}.lora.{name}")).unwrap();
        (factors.a, factors.b) = (of("a"), of("b"));
    }
    assert!(
        found.found.is_empty(),
        "gradients of {:?}",
        found.found.keys()
    );
    factors
}

struct FactorGradients {
    grads: GradientsParams,
    path: Vec<String>,
    found: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for FactorGradients {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.grads.get::<D>(param.id) {
            self.found.insert(self.path.join("."), values(&gradient));
        }
    }
}

/// By way of a file.
fn in_names_of_peft(
    model: &GptOss,
    factors: BTreeMap<String, Factors>,
) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let dir = tempfile::tempdir().unwrap();
    let settings = adapter(model).settings;
    AdapterCheckpoint { settings, factors }
        .write_to(dir.path(), model.config(), AdapterDialect::Peft)
        .unwrap();
    let bytes = std::fs::read(dir.path().join("adapter_model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
        let (values, _) = view.data().as_chunks::<4>();
        let values = values
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        (name.to_owned(), (view.shape().to_vec(), values))
    };
    file.iter().map(tensor).collect()
}
