//! Codes of weights with a low-rank delta: those of Flex, bit for bit.

use burn::backend::Flex;
use burn::tensor::{DType, TensorData};
use burn_cubecl::CubeBackend;
use burn_flex::FlexTensor;
use burn_fp4::backend::{
    ExpertBackend, ExpertRoutes, Fp4Backend, Fp4Primitive, LowRankPrimitive, OperandPrimitive,
};
use burn_fp4::{Fp4Scheme, GlobalScope, ScaleRule};
use kernel_harness::runtimes::{TestRuntime, read, runtimes};

use super::case::sample;

const EXPERTS: usize = 4;
/// Words of scale bytes reach beyond the rows of three blocks.
const D_INPUT: usize = 96;
const D_OUTPUT: usize = 21;

struct Inputs {
    dense: TensorData,
    a: TensorData,
    b: TensorData,
    global_scales: TensorData,
}

/// The experts of three tokens; expert 2 has none.
fn chosen() -> TensorData {
    TensorData::new(vec![0i32, 3, 1, 0, 3, 1], [3, 2])
}

fn inputs(dtype: DType, rank: usize, scheme: Fp4Scheme) -> Inputs {
    let n = scheme.n_global_scales(&[EXPERTS, D_INPUT, D_OUTPUT]).max(1);
    let global_scales: Vec<f32> = (0..n).map(|i| 0.0004 + 0.0001 * i as f32).collect();
    Inputs {
        dense: sample([EXPERTS, D_INPUT, D_OUTPUT], 1, dtype),
        a: sample([EXPERTS, D_INPUT, rank], 2, DType::F32),
        b: sample([EXPERTS, rank, D_OUTPUT], 3, DType::F32),
        global_scales: TensorData::new(global_scales, [n]),
    }
}

const SCALING: f32 = 0.37;

/// What an expert with rows has, and nothing of others: those are unspecified.
fn of_used(bytes: TensorData) -> Vec<u8> {
    let bytes: Vec<u8> = bytes.try_into_vec().unwrap();
    let matrix = bytes.len() / EXPERTS;
    [0, 1, 3]
        .iter()
        .flat_map(|expert| bytes[expert * matrix..][..matrix].to_vec())
        .collect()
}

fn on_flex(inputs: &Inputs, base: Option<Fp4Scheme>, scheme: Fp4Scheme) -> [Vec<u8>; 2] {
    let of = |data: &TensorData| FlexTensor::from_data(data.clone());
    let delta = LowRankPrimitive {
        a: of(&inputs.a),
        b: of(&inputs.b),
        scaling: SCALING,
    };
    let base = match base {
        None => OperandPrimitive::Dense(of(&inputs.dense)),
        Some(scheme) => OperandPrimitive::Packed(packed(inputs, scheme), scheme),
    };
    let routes: ExpertRoutes<Flex> = Flex::expert_routing(of(&chosen()), EXPERTS);
    let merged = Flex::expert_merge(base, delta, of(&inputs.global_scales), routes, scheme);
    [merged.codes.into_data(), merged.scales.into_data()].map(of_used)
}

fn packed(inputs: &Inputs, scheme: Fp4Scheme) -> Fp4Primitive<Flex> {
    let dense = FlexTensor::from_data(inputs.dense.clone());
    let amax = Flex::fp4_amax(dense.clone(), scheme);
    Flex::fp4_quantize(dense, amax, 1, scheme)
}

fn on_device(
    runtime: &TestRuntime,
    inputs: &Inputs,
    base: Option<Fp4Scheme>,
    scheme: Fp4Scheme,
) -> [Vec<u8>; 2] {
    let of = |data: &TensorData| runtime.tensor(data.clone());
    let delta = LowRankPrimitive {
        a: of(&inputs.a),
        b: of(&inputs.b),
        scaling: SCALING,
    };
    let base = match base {
        None => OperandPrimitive::Dense(of(&inputs.dense)),
        Some(scheme) => {
            let base = packed(inputs, scheme);
            let base = Fp4Primitive {
                codes: runtime.tensor(base.codes.into_data()),
                scales: runtime.tensor(base.scales.into_data()),
                global_scales: runtime.tensor(base.global_scales.into_data()),
            };
            OperandPrimitive::Packed(base, scheme)
        }
    };
    let routes = CubeBackend::expert_routing(of(&chosen()), EXPERTS);
    let merged = CubeBackend::expert_merge(base, delta, of(&inputs.global_scales), routes, scheme);
    [read(merged.codes), read(merged.scales)].map(of_used)
}

#[test]
fn merged_codes_are_those_of_flex() {
    let (mx, nv) = (Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4());
    let per_expert = nv.with_global_scope(GlobalScope::Expert);
    // The base, `None` a dense one, what it is rounded to, the rank.
    let cases = [
        (Some(mx), mx, 3),
        (Some(mx), nv, 1),
        (Some(per_expert), per_expert, 5),
        (Some(nv), Fp4Scheme::mxfp4_with(ScaleRule::Floor), 2),
        (Some(mx), Fp4Scheme::mxfp4_with(ScaleRule::Mse), 2),
        (None, mx, 4),
        (None, nv, 2),
    ];
    for runtime in runtimes() {
        for (base, scheme, rank) in cases {
            let dtypes: &[DType] = match base {
                Some(_) => &[DType::F32],
                None => &[DType::F32, DType::BF16, DType::F16],
            };
            for &dtype in dtypes {
                let inputs = inputs(dtype, rank, scheme);
                let expected = on_flex(&inputs, base, scheme);
                let found = on_device(&runtime, &inputs, base, scheme);
                let what = format!("{}: {base:?}, {dtype:?}, {scheme:?}", runtime.name);
                assert!(expected[0].iter().any(|&byte| byte != 0), "{what}");
                assert_eq!(found, expected, "{what}");
            }
        }
    }
}
