use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use burn_gpt_oss::{GptOss, router_aux_loss};

use crate::deviation::Deviations;
use crate::golden::Golden;
use crate::model::{Batch, Named, cross_entropy, gradients, parameters};

/// Bar, relative to the largest magnitude of each tensor's gradient.
const RELATIVE: f64 = 1e-3;

pub fn inputs() -> Batch {
    Batch::read(&Golden::open("tiny-gpt-oss-expected.safetensors"), "a")
}

/// Cross entropy and the load-balancing loss.
fn losses(model: &GptOss, batch: &Batch, device: &Device) -> (Tensor<1>, Tensor<1>) {
    let mut routers = Vec::new();
    let mask = batch.mask(device);
    let hidden = model.hidden_states(batch.ids(device), Some(mask.clone()), |block| {
        routers.push(block.router.logits.clone());
    });
    let labels = batch.labels.as_ref().expect("labels");
    let ce = cross_entropy(model.logits(hidden), labels);
    (
        ce,
        router_aux_loss(&routers, model.config().num_experts_per_tok, Some(mask)),
    )
}

fn backward(model: &GptOss, loss: &Tensor<1>) -> Named {
    gradients(model, &GradientsParams::from_grads(loss.backward(), model))
}

pub fn cross_entropy_gradients(model: &GptOss, device: &Device) -> Named {
    backward(model, &losses(model, &inputs(), device).0)
}

pub fn check(title: &str, model: &GptOss, golden: &Golden, device: &Device) {
    let mut deviations = Deviations::new(title);
    let ce = cross_entropy_gradients(model, device);
    let names: Vec<_> = parameters(model).into_keys().collect();
    assert!(
        ce.keys().eq(&names),
        "parameters with a gradient: {:?}",
        ce.keys()
    );
    compare(model, "ce", &ce, golden, &mut deviations);

    let (loss, aux) = losses(model, &inputs(), device);
    let total = backward(model, &(loss + aux * model.config().router_aux_loss_coef));
    compare(model, "total", &total, golden, &mut deviations);
}

/// Compares every tensor of one loss with the golden ones.
fn compare(
    model: &GptOss,
    loss: &str,
    found: &Named,
    golden: &Golden,
    deviations: &mut Deviations,
) {
    let keys = golden.keys(&format!("{loss}."));
    assert!(!keys.is_empty(), "no golden gradients of `{loss}`");
    let pad_row = padding_row(model);
    for key in keys {
        let name = &key[loss.len() + 1..];
        let expected = golden.f32(&key);
        let found = found
            .get(name)
            .unwrap_or_else(|| panic!("no gradient of `{name}`"));
        assert_eq!(found.shape, expected.shape, "shape of `{key}`");
        let largest = expected
            .values
            .iter()
            .fold(0.0_f32, |max, value| max.max(value.abs()));
        assert!(largest > 0.0, "`{key}` is zero everywhere");
        let normalized = |values: &[f32]| values.iter().map(|v| v / largest).collect::<Vec<_>>();
        let pair = (normalized(&found.values), normalized(&expected.values));
        let counts = |i| name != "model.embed_tokens.weight" || !pad_row.contains(&i);
        let group = format!("{loss}, {}", kind(name));
        deviations.compare_where(&group, &key, (&pair.0, &pair.1), RELATIVE, counts);
    }
}

/// Elements of the embedding of the padding token: the package keeps their gradient at zero
/// (`padding_idx`), here they have one like all others. Only a padding token inside the labeled text
/// could tell the difference.
fn padding_row(model: &GptOss) -> std::ops::Range<usize> {
    let width = model.config().hidden_size;
    let row = model
        .config()
        .pad_token_id
        .map_or(0..0, |id| id as usize..id as usize + 1);
    row.start * width..row.end * width
}

/// The name without the layer.
fn kind(name: &str) -> String {
    name.split('.')
        .filter(|part| part.parse::<usize>().is_err())
        .collect::<Vec<_>>()
        .join(".")
}

pub fn loss_and_gradients(model: &GptOss, device: &Device) -> (Tensor<1>, GradientsParams) {
    let (ce, _) = losses(model, &inputs(), device);
    let gradients = GradientsParams::from_grads(ce.backward(), model);
    (ce, gradients)
}
