//! Names of adapters in the files of PEFT.

use crate::checkpoint::{TensorLayout, TensorSpec};

/// How PEFT names what an adapter belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A linear layer.
    Linear,
    /// The embedding, whose tensors have names of their own.
    Embedding,
    /// A parameter of two axes in a module without linear layers: the router.
    Router,
    /// The matrices of all experts.
    GateUp,
    Down,
}

/// The target of a parameter that can have an adapter.
pub(super) fn target(spec: &TensorSpec) -> Option<Target> {
    let path = spec.path.as_str();
    match spec.layout {
        TensorLayout::Experts if path.ends_with("gate_up_proj") => Some(Target::GateUp),
        TensorLayout::Experts => Some(Target::Down),
        TensorLayout::Transposed if path.ends_with("router.weight") => Some(Target::Router),
        TensorLayout::Transposed => Some(Target::Linear),
        TensorLayout::Same if path == "embed_tokens.weight" => Some(Target::Embedding),
        TensorLayout::Same => None,
    }
}

/// What stands before the names of the model.
pub(super) const PREFIX: &str = "base_model.model.";

/// The names of both factors. `nested` says whether the other matrix of the experts has an adapter, too: PEFT
/// wraps the module once for each, and the inner wrapper is that of `gate_up_proj`.
pub(super) fn tensors(spec: &TensorSpec, target: Target, nested: bool) -> [String; 2] {
    let module = |name: &str| format!("{PREFIX}{name}");
    let weights =
        |module: String| ["A", "B"].map(|factor| format!("{module}.lora_{factor}.weight"));
    let name = &spec.name;
    let parent = |name: &str| {
        name.rsplit_once('.')
            .map_or(name, |(parent, _)| parent)
            .to_owned()
    };
    match target {
        Target::Linear | Target::Router => weights(module(&parent(name))),
        Target::Embedding => {
            ["A", "B"].map(|factor| format!("{}.lora_embedding_{factor}", module(&parent(name))))
        }
        Target::GateUp if nested => weights(format!("{}.base_layer", module(&parent(name)))),
        Target::GateUp | Target::Down => weights(module(&parent(name))),
    }
}

/// What `target_modules` or `target_parameters` call a parameter, whatever its layer.
pub(super) fn short_name(spec: &TensorSpec, target: Target) -> String {
    let parts: Vec<&str> = spec.name.split('.').collect();
    match target {
        Target::Linear | Target::Embedding => parts[parts.len().saturating_sub(2)].into(),
        Target::Router => "mlp.router.weight".into(),
        Target::GateUp => "mlp.experts.gate_up_proj".into(),
        Target::Down => "mlp.experts.down_proj".into(),
    }
}

/// Whether this is a weight of the base, which PEFT writes beside an adapter of the embedding or the head.
pub(super) fn is_base(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(".base_layer.weight")
}
