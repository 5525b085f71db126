//! The start model, the batch and its losses.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use burn_fp4::{Fp4Scheme, ScaleRule};
use burn_gpt_oss::{GptOss, router_aux_loss};
use burn_qat_train::{GlobalRefresh, QuantPolicy, insert_quantizers_with};

use crate::golden::{Array, Golden};
use crate::model::{self, cross_entropy, int_tensor, load};

const FORM: &str = "tiny-gpt-oss-bf16";
const EXPERTS: &str = "qat/init_experts.safetensors";

pub fn device() -> Device {
    model::device().autodiff()
}

/// The checkpoint with expert matrices that are not on the FP4 grid.
pub fn model(device: &Device) -> GptOss {
    let mut model = load(FORM, device);
    let initial = Golden::open(EXPERTS);
    let names = initial.keys("");
    assert_eq!(
        names.len(),
        2 * model.layers.len(),
        "{EXPERTS}: two matrices per layer, found {names:?}"
    );
    for name in names {
        let array = initial.f32(&name);
        let matrix = expert_matrix(&mut model, &name);
        assert_eq!(
            matrix.dims().as_slice(),
            array.shape,
            "{EXPERTS}: shape of `{name}`"
        );
        let data = TensorData::new(array.values.clone(), array.dims::<3>());
        *matrix = Param::from_tensor(Tensor::from_data(data, device));
    }
    initial.finish(&[]);
    model
}

/// The start model in training for MXFP4.
pub fn mxfp4(device: &Device) -> GptOss {
    quantized(device, Fp4Scheme::mxfp4())
}

/// The same with the scale rule of OCP MX v1.0.
pub fn mxfp4_ocp(device: &Device) -> GptOss {
    quantized(device, Fp4Scheme::mxfp4_with(ScaleRule::Floor))
}

/// The start model in training for NVFP4, with a global scale from the weights of every step.
pub fn nvfp4(device: &Device) -> GptOss {
    quantized(device, Fp4Scheme::nvfp4())
}

/// The same with the global scale of step 0 kept.
pub fn nvfp4_frozen(device: &Device) -> GptOss {
    quantized_with(device, Fp4Scheme::nvfp4(), GlobalRefresh::Frozen)
}

/// The start model with quantizers on all expert matrices and on nothing else.
fn quantized(device: &Device, scheme: Fp4Scheme) -> GptOss {
    quantized_with(device, scheme, GlobalRefresh::Dynamic)
}

fn quantized_with(device: &Device, scheme: Fp4Scheme, global_refresh: GlobalRefresh) -> GptOss {
    let mut policy = QuantPolicy::mxfp4_mlp_weight_only();
    for rule in &mut policy.rules {
        rule.scheme = rule.scheme.map(|_| scheme);
    }
    let (model, inserted) =
        insert_quantizers_with(model(device), &policy, global_refresh).expect("the preset fits");
    let mut found: Vec<_> = inserted
        .into_iter()
        .map(|weight| format!("model.{}", weight.path))
        .collect();
    found.sort();
    assert_eq!(found, Golden::open(EXPERTS).keys(""), "quantized weights");
    model
}

/// An expert matrix by its name in the checkpoint.
pub fn expert_matrix<'a>(model: &'a mut GptOss, name: &str) -> &'a mut Param<Tensor<3>> {
    let parts: Vec<_> = name.split('.').collect();
    let ["model", "layers", layer, "mlp", "experts", field] = parts[..] else {
        panic!("`{name}` is no expert matrix");
    };
    let layer: usize = layer
        .parse()
        .unwrap_or_else(|_| panic!("`{name}` has no layer number"));
    let experts = &mut model.layers[layer].mlp.experts;
    let mut weights = experts.weights_mut().into_iter();
    let weight = weights.find(|(weight, _)| *weight == field);
    let dense = weight.and_then(|(_, weight)| weight.dense_mut());
    dense.unwrap_or_else(|| panic!("`{name}` is no dense expert matrix"))
}

/// The one batch of a run, without padding.
pub struct Batch {
    input_ids: Array<i64>,
    labels: Array<i64>,
}

/// What a forward pass computes.
pub struct Pass {
    /// `[batch, len, vocab_size]`
    pub logits: Tensor<3>,
    /// Mean cross entropy, `[1]`.
    pub ce: Tensor<1>,
    /// Load-balancing loss, not weighted, `[1]`.
    pub aux: Tensor<1>,
}

impl Batch {
    pub fn read(golden: &Golden) -> Self {
        Self {
            input_ids: golden.i64("input_ids"),
            labels: golden.i64("labels"),
        }
    }

    pub fn run(&self, model: &GptOss) -> Pass {
        let ids = int_tensor::<2>(&self.input_ids, &model.embed_tokens.weight.device());
        let mut routers = Vec::new();
        let hidden =
            model.hidden_states(ids, None, |block| routers.push(block.router.logits.clone()));
        let logits = model.logits(hidden);
        let ce = cross_entropy(logits.clone(), &self.labels);
        Pass {
            logits,
            ce,
            aux: router_aux_loss(&routers, model.config().num_experts_per_tok, None),
        }
    }
}
