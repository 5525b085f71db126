//! From dense experts to packed ones.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::store::ModuleRecord;
use burn::tensor::{Device, Int, Tensor};
use burn_fp4::{Fp4Error, Fp4Scheme, fake_quantize_along};
use burn_gpt_oss::{GptOss, GptOssError};
use burn_qat_train::{GlobalRefresh, QuantPolicy, insert_quantizers, insert_quantizers_with};

use crate::model::{load, values};

const DENSE: &str = "tiny-gpt-oss-bf16";

/// Dense experts that are not on the FP4 grid.
fn moved() -> GptOss {
    let mut model = load(DENSE, &Device::flex());
    for block in &mut model.layers {
        for (_, weight) in block.mlp.experts.weights_mut() {
            let values = weight.val() * 1.037 + 0.001;
            *weight = Param::from_tensor(values).into();
        }
    }
    model
}

fn bits(tensor: &Tensor<3>) -> Vec<u32> {
    values(tensor).into_iter().map(f32::to_bits).collect()
}

fn expert_bits(model: &GptOss) -> Vec<Vec<u32>> {
    let weights = model.layers.iter().map(|block| block.mlp.experts.weights());
    weights.flatten().map(|(_, w)| bits(&w.val())).collect()
}

fn nvfp4_policy() -> QuantPolicy {
    let mut policy = QuantPolicy::mxfp4_mlp_weight_only();
    policy.rules[0].scheme = Some(Fp4Scheme::nvfp4());
    policy
}

#[test]
fn packed_values_are_those_of_a_fake_quantizer() {
    for scheme in [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4()] {
        let dense = moved();
        let packed = dense.clone().pack_experts(&scheme).unwrap();
        for (dense, packed) in dense.layers.iter().zip(&packed.layers) {
            let pairs = dense.mlp.experts.weights().into_iter();
            for ((name, dense), (_, packed)) in pairs.zip(packed.mlp.experts.weights()) {
                assert_eq!(packed.scheme(), Some(scheme), "{name}");
                assert_eq!(packed.shape(), dense.shape(), "{name}");
                let expected = fake_quantize_along(dense.val(), 1, &scheme);
                assert!(bits(&packed.val()) == bits(&expected), "{scheme}: {name}");
            }
        }
        let again = packed.clone().pack_experts(&scheme).unwrap();
        assert!(expert_bits(&again) == expert_bits(&packed));
    }
}

#[test]
fn trained_experts_become_what_their_quantizer_gives() {
    let policies = [QuantPolicy::mxfp4_mlp_weight_only(), nvfp4_policy()];
    let schemes = [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4()];
    for (policy, scheme) in policies.iter().zip(schemes) {
        let start = load(DENSE, &Device::flex());
        let (model, _) = insert_quantizers_with(start, policy, GlobalRefresh::Frozen).unwrap();
        let model = model.map(&mut Trained);
        let packed = model.clone().pack_experts(&scheme).unwrap();
        assert!(expert_bits(&packed) == expert_bits(&model), "{scheme}");
    }
}

/// Moves matrices away from the magnitudes that quantizers keep.
struct Trained;

impl ModuleMapper for Trained {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match D {
            3 => param.map(|values| values * 0.8137),
            _ => param,
        }
    }
}

#[test]
fn what_cannot_be_packed_is_refused() {
    let scheme = Fp4Scheme::mxfp4();
    let packed = moved().pack_experts(&scheme).unwrap();
    let error = packed.pack_experts(&Fp4Scheme::nvfp4()).unwrap_err();
    assert!(matches!(error, GptOssError::Unsupported { .. }), "{error}");

    let (trained, _) = insert_quantizers(moved(), &nvfp4_policy()).unwrap();
    let error = trained.pack_experts(&scheme).unwrap_err();
    let is_other = |source: &Fp4Error| matches!(source, Fp4Error::OtherQuantizer { .. });
    assert!(
        matches!(&error, GptOssError::Fp4 { source, .. } if is_other(source)),
        "{error}"
    );

    let mut broken = moved();
    let last = broken.layers.len() - 1;
    let weight = &mut broken.layers[last].mlp.experts.down_proj;
    *weight = Param::from_tensor(weight.val() / 0.0).into();
    let message = broken.pack_experts(&scheme).unwrap_err().to_string();
    for part in [&format!("layers.{last}.mlp.experts"), "down_proj"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn paths_are_those_of_the_dense_model() {
    let path = |name: &str| format!("layers.0.mlp.experts.{name}");
    let dense = paths(&moved());
    assert!(dense.contains(&path("gate_up_proj")), "{dense:?}");
    for (scheme, parts) in [
        (Fp4Scheme::mxfp4(), &["codes", "scales"][..]),
        (Fp4Scheme::nvfp4(), &["codes", "scales", "global_scales"]),
    ] {
        let packed = paths(&moved().pack_experts(&scheme).unwrap());
        let mut expected = Vec::new();
        for path in &dense {
            match path.ends_with(".gate_up_proj") || path.ends_with(".down_proj") {
                true => expected.extend(parts.iter().map(|part| format!("{path}.{part}"))),
                false => expected.push(path.clone()),
            }
        }
        assert_eq!(packed, expected);
    }
}

fn paths(model: &GptOss) -> Vec<String> {
    let mut paths = Paths::default();
    model.visit(&mut paths);
    paths.found
}

#[derive(Default)]
struct Paths {
    path: Vec<String>,
    found: Vec<String>,
}

impl ModuleVisitor for Paths {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
        self.found.push(self.path.join("."));
    }

    fn visit_int<const D: usize>(&mut self, _param: &Param<Tensor<D, Int>>) {
        self.found.push(self.path.join("."));
    }
}

#[test]
fn records_hold_packed_experts() {
    let dir = tempfile::TempDir::new().unwrap();
    for (i, scheme) in [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4()].iter().enumerate() {
        let packed = moved().pack_experts(scheme).unwrap();
        let path = dir.path().join(i.to_string());
        packed.clone().into_record().save(&path).unwrap();
        let empty = packed
            .config()
            .init_packed(scheme, &Device::flex())
            .unwrap();
        let loaded = empty
            .try_load_record(ModuleRecord::load(&path).unwrap())
            .unwrap();
        assert!(expert_bits(&loaded) == expert_bits(&packed), "{scheme}");
    }
    let mut narrow = moved().config().clone();
    narrow.intermediate_size += 8;
    let error = narrow.init_packed(&Fp4Scheme::mxfp4(), &Device::flex());
    let message = error.unwrap_err().to_string();
    assert!(
        message.contains("layers.0.mlp.experts.down_proj"),
        "{message}"
    );
}
