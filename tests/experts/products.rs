//! Both products, values and gradients, against sums in f64.

use burn::tensor::{DType, Device, Tensor};
use burn_fp4::{
    Fp4Scheme, Fp4Tensor, GlobalScope, Operand, expert_combine, expert_linear, expert_routing,
};

use crate::case::{Case, cases, sample, tensor, values};
use crate::reference::{Inputs, Results, assert_within, run};

const DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

fn inputs(case: &Case, combined: bool) -> Inputs {
    let Case {
        d_input,
        d_output,
        experts,
        ..
    } = *case;
    let (rows, tokens) = (case.chosen.len(), case.tokens());
    let (n_inputs, n_outputs) = if combined {
        (rows, tokens)
    } else {
        (tokens, rows)
    };
    Inputs {
        x: sample(n_inputs * d_input, 1),
        weight: sample(experts * d_input * d_output, 2),
        bias: sample(experts * d_output, 3),
        scores: sample(rows, 4),
        seed: sample(n_outputs * d_output, 5),
    }
}

/// Which inputs are tracked: x, matrices, bias, scores.
type Tracked = [bool; 4];

/// The operation; gradients of what is not tracked are empty.
fn found(
    case: &Case,
    inputs: &Inputs,
    combined: bool,
    (matrices, dtype): (&Operand<3>, DType),
    tracked: Tracked,
    device: &Device,
) -> Results {
    let float = |values: &[f64], width: usize, tracked| {
        let values = tensor(values, [values.len() / width, width], device, dtype);
        values.set_require_grad(tracked)
    };
    let x = float(&inputs.x, case.d_input, tracked[0]);
    let bias = float(&inputs.bias, case.d_output, tracked[2]);
    let scores = float(&inputs.scores, case.top_k, tracked[3]);
    let routing = expert_routing(case.indices(device, DType::I32), case.experts);
    let output = if combined {
        expert_combine(
            x.clone(),
            matrices.clone(),
            bias.clone(),
            scores.clone(),
            &routing,
        )
    } else {
        expert_linear(x.clone(), matrices.clone(), bias.clone(), &routing)
    };
    assert_eq!(output.dtype(), dtype);
    let value = values(output.clone());
    if tracked == [false; 4] {
        return Results {
            output: value,
            x: vec![],
            weight: vec![],
            bias: vec![],
            scores: vec![],
        };
    }
    let seed = tensor(&inputs.seed, output.dims(), device, dtype);
    let grads = (output * seed).sum().backward();
    let of = |tensor: &Tensor<2>| tensor.grad(&grads).map_or(Vec::new(), values);
    let weight = match matrices {
        Operand::Dense(weight) => weight.grad(&grads).map_or(Vec::new(), values),
        Operand::Packed(..) | Operand::Adapted(_) | Operand::Rounded(_) => Vec::new(),
    };
    Results {
        output: value,
        x: of(&x),
        weight,
        bias: of(&bias),
        scores: of(&scores),
    }
}

fn dense(case: &Case, inputs: &Inputs, dtype: DType, tracked: bool, device: &Device) -> Tensor<3> {
    let shape = [case.experts, case.d_input, case.d_output];
    tensor(&inputs.weight, shape, device, dtype).set_require_grad(tracked)
}

fn compare(
    what: &str,
    case: &Case,
    inputs: &Inputs,
    combined: bool,
    found: &Results,
    dtype: DType,
) {
    let exact = run(case, inputs, combined);
    let bound = run(case, &inputs.magnitudes(), combined);
    // Per term a product and a sum, times a score, summed over choices.
    let terms = |n: usize| (n + case.top_k + 3, dtype);
    let rows = case.chosen.len();
    let check = |name: &str, found: &[f64], exact: &[f64], bound: &[f64], n: usize| {
        assert_within(&format!("{what}, {name}"), found, exact, bound, terms(n));
    };
    check(
        "output",
        &found.output,
        &exact.output,
        &bound.output,
        case.d_input,
    );
    check("x", &found.x, &exact.x, &bound.x, case.d_output);
    check("bias", &found.bias, &exact.bias, &bound.bias, rows);
    if !found.weight.is_empty() {
        check("weight", &found.weight, &exact.weight, &bound.weight, rows);
    }
    if combined {
        let n = case.d_input + case.d_output;
        check("scores", &found.scores, &exact.scores, &bound.scores, n);
    }
}

#[test]
fn dense_products_are_within_the_rounding_of_f32_sums() {
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        for case in cases() {
            for (dtype, combined) in DTYPES.into_iter().flat_map(|d| [(d, false), (d, true)]) {
                let inputs = inputs(&case, combined);
                let weight = dense(&case, &inputs, dtype, true, &device).into();
                let tracked = [true, true, true, combined];
                let found = found(&case, &inputs, combined, (&weight, dtype), tracked, &device);
                let what = format!("{}, {dtype:?}, combined: {combined}", case.name);
                compare(&what, &case, &inputs, combined, &found, dtype);
            }
        }
    }
}

#[test]
fn experts_without_rows_have_zero_gradients() {
    let device = Device::flex().autodiff();
    let case = cases()
        .into_iter()
        .find(|case| case.name == "empty experts")
        .unwrap();
    let inputs = inputs(&case, false);
    let weight = dense(&case, &inputs, DType::F32, true, &device).into();
    let tracked = [true, true, true, false];
    let found = found(
        &case,
        &inputs,
        false,
        (&weight, DType::F32),
        tracked,
        &device,
    );
    let matrix = case.d_input * case.d_output;
    for expert in [0, 3, 5] {
        assert!(
            found.weight[expert * matrix..][..matrix]
                .iter()
                .all(|&value| value == 0.0)
        );
        assert!(
            found.bias[expert * case.d_output..][..case.d_output]
                .iter()
                .all(|&v| v == 0.0)
        );
    }
    assert!(
        found.weight[matrix..2 * matrix]
            .iter()
            .any(|&value| value != 0.0)
    );
}

#[test]
fn packed_products_are_within_the_rounding_of_f32_sums() {
    let device = Device::flex().autodiff();
    let per_expert = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);
    for case in cases()
        .into_iter()
        .filter(|case| case.d_input.is_multiple_of(32))
    {
        for scheme in [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4(), per_expert] {
            for (dtype, combined) in DTYPES.into_iter().flat_map(|d| [(d, false), (d, true)]) {
                let mut inputs = inputs(&case, combined);
                // Experts of different magnitude, so that global scales per expert differ.
                let matrix = case.d_input * case.d_output;
                for (i, value) in inputs.weight.iter_mut().enumerate() {
                    *value *= [0.3, 2.0, 0.01, 1.0][i / matrix];
                }
                let plain = dense(&case, &inputs, DType::F32, false, &device);
                let packed = Fp4Tensor::quantize(plain, 1, &scheme);
                let decoded = packed.dequantize(1, burn::tensor::FloatDType::F32);
                inputs.weight = values(decoded);
                let weight = packed.into();
                let tracked = [true, false, true, combined];
                let found = found(&case, &inputs, combined, (&weight, dtype), tracked, &device);
                let what = format!("{}, {scheme}, {dtype:?}, combined: {combined}", case.name);
                compare(&what, &case, &inputs, combined, &found, dtype);
            }
        }
    }
}

#[test]
fn gradients_do_not_depend_on_what_else_is_tracked() {
    let device = Device::flex().autodiff();
    let case = &cases()[0];
    for combined in [false, true] {
        let inputs = inputs(case, combined);
        let run = |tracked: Tracked| {
            let weight = dense(case, &inputs, DType::F32, tracked[1], &device).into();
            found(
                case,
                &inputs,
                combined,
                (&weight, DType::F32),
                tracked,
                &device,
            )
        };
        let all = run([true; 4]);
        for mask in 0..16 {
            let tracked = std::array::from_fn(|i| mask >> i & 1 == 1);
            if !combined && tracked == [false, false, false, true] {
                continue; // No input of this product.
            }
            let some = run(tracked);
            assert_eq!(some.output, all.output);
            let pairs = [
                (some.x, &all.x),
                (some.weight, &all.weight),
                (some.bias, &all.bias),
                (some.scores, &all.scores),
            ];
            for ((some, all), tracked) in pairs.into_iter().zip(tracked) {
                let wanted: &[f64] = if tracked { all } else { &[] };
                assert_eq!(some, wanted, "{tracked:?}, combined: {combined}");
            }
        }
    }
}

#[test]
fn views_of_matrices_are_read_where_they_are() {
    let device = Device::flex().autodiff();
    let case = &cases()[0];
    let tracked = [true, false, true, true];
    for (dtype, combined) in DTYPES.into_iter().flat_map(|d| [(d, false), (d, true)]) {
        let inputs = inputs(case, combined);
        let weight = dense(case, &inputs, dtype, false, &device);
        let run = |weight: Tensor<3>| {
            found(
                case,
                &inputs,
                combined,
                (&weight.into(), dtype),
                tracked,
                &device,
            )
        };
        let plain = run(weight.clone());
        let turned = weight
            .clone()
            .swap_dims(1, 2)
            .mul_scalar(1.0)
            .swap_dims(1, 2);
        let [experts, d_input, d_output] = weight.dims();
        let wide = Tensor::cat(vec![weight.clone(); 3], 2).narrow(2, d_output, d_output);
        let backwards = weight.flip([0, 2]).mul_scalar(1.0).flip([0, 2]);
        for view in [turned, wide, backwards] {
            assert_eq!(view.dims(), [experts, d_input, d_output]);
            let found = run(view);
            let what = format!("view, {dtype:?}, combined: {combined}");
            compare(&what, case, &inputs, combined, &found, dtype);
            assert_eq!(found.bias, plain.bias);
        }
    }
}

#[test]
fn results_do_not_depend_on_threads() {
    let device = Device::flex().autodiff();
    let case = &cases()[1];
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let inputs = inputs(case, true);
            let weight = dense(case, &inputs, DType::F32, true, &device).into();
            found(
                case,
                &inputs,
                true,
                (&weight, DType::F32),
                [true; 4],
                &device,
            )
        })
    };
    let (one, many) = (run(1), run(5));
    assert_eq!(one.output, many.output);
    assert_eq!(one.x, many.x);
    assert_eq!(one.weight, many.weight);
    assert_eq!(one.bias, many.bias);
    assert_eq!(one.scores, many.scores);
}
