//! GPTQ of one matrix.

use burn_fp4::{Fp4Error, Fp4Scheme, GlobalAmax, GlobalScope, SliceQuantizer, e2m1, e4m3, e8m0};

/// Codes and block scales of a matrix, `[out, in / 2]` and `[out, in / block_size]`.
pub(super) struct Rounded {
    pub codes: Vec<u8>,
    pub scales: Vec<u8>,
}

/// Rounds a matrix `[in, out]` one input after the other; what rounding changes is made up for by the inputs that are
/// not rounded yet, as far as they resemble it (Frantar et al., "GPTQ", 2023, algorithm 1). Block scales are chosen
/// when a block is reached, by the rule of the scheme. `weights` is used up. `factor` is of
/// [`inverse_factor`](super::inverse_factor::inverse_factor); `amax` is what the global scale is made of, in NVFP4.
pub(super) fn round_matrix(
    weights: &mut [f32],
    (n_inputs, n_outputs): (usize, usize),
    factor: &[f64],
    (scheme, amax): (Fp4Scheme, Option<f32>),
) -> Result<Rounded, Fp4Error> {
    let block_size = scheme.block_size();
    let quantizer = SliceQuantizer::new(scheme.with_global_scope(GlobalScope::Tensor));
    let quantizer = match amax {
        Some(amax) => quantizer.with_global_amax(GlobalAmax::Frozen(vec![amax])),
        None => quantizer,
    };
    let mut rounded = Rounded {
        codes: vec![0; n_outputs * n_inputs / 2],
        scales: vec![0; n_outputs * n_inputs / block_size],
    };
    let n_blocks = n_inputs / block_size;
    let mut errors = vec![0.0; block_size * n_outputs];
    for block in 0..n_blocks {
        let (start, end) = (block * block_size, (block + 1) * block_size);
        let rows = &weights[start * n_outputs..end * n_outputs];
        let first = quantizer.quantize(rows, &[block_size, n_outputs], 0)?;
        let global = first.global_scales().first().copied();
        let scales: Vec<f32> = first
            .scales()
            .iter()
            .map(|byte| scale(*byte, global))
            .collect();
        for (row, byte) in rounded
            .scales
            .chunks_exact_mut(n_blocks)
            .zip(first.scales())
        {
            row[block] = *byte;
        }
        for input in start..end {
            let (done, rest) = weights.split_at_mut((input + 1) * n_outputs);
            let values = &done[input * n_outputs..];
            let errors = &mut errors[(input - start) * n_outputs..][..n_outputs];
            let pivot = factor[input * n_inputs + input] as f32;
            for (output, ((value, scale), error)) in values
                .iter()
                .zip(&scales)
                .zip(errors.iter_mut())
                .enumerate()
            {
                let code = code(value / scale, scheme);
                *error = (value - e2m1::decode(code) * scale) / pivot;
                rounded.codes[(output * n_inputs + input) / 2] |= code << (4 * (input % 2));
            }
            let coefficients = &factor[input * n_inputs..][input + 1..end];
            make_up(rest, coefficients, errors, n_outputs);
        }
        // Inputs behind the block take the errors of all of it at once, while they are in the cache.
        for (behind, row) in weights.chunks_exact_mut(n_outputs).enumerate().skip(end) {
            for (input, errors) in (start..end).zip(errors.chunks_exact(n_outputs)) {
                make_up(
                    row,
                    &factor[input * n_inputs + behind..][..1],
                    errors,
                    n_outputs,
                );
            }
        }
    }
    Ok(rounded)
}

/// Subtracts errors from the rows that follow, each with its coefficient.
fn make_up(rows: &mut [f32], coefficients: &[f64], errors: &[f32], n_outputs: usize) {
    for (row, coefficient) in rows.chunks_exact_mut(n_outputs).zip(coefficients) {
        let coefficient = *coefficient as f32;
        let values = row.iter_mut().zip(errors);
        values.for_each(|(value, error)| *value -= coefficient * error);
    }
}

fn scale(byte: u8, global: Option<f32>) -> f32 {
    match global {
        None => e8m0::decode(byte),
        Some(global) => e4m3::decode(byte) * global,
    }
}

/// As the other codecs have it: what was zero before is positive in NVFP4, and what becomes zero keeps its sign.
fn code(value: f32, scheme: Fp4Scheme) -> u8 {
    match scheme {
        Fp4Scheme::Nvfp4 { .. } if value == 0.0 => 0,
        _ => e2m1::encode(value),
    }
}

#[cfg(test)]
mod tests {
    use super::super::inverse_factor::inverse_factor;
    use super::*;

    const SCHEMES: [Fp4Scheme; 2] = [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4()];

    fn weights(n_inputs: usize, n_outputs: usize) -> Vec<f32> {
        let value = |i: usize| ((i * 7919) % 1009) as f32 / 504.5 - 1.0;
        (0..n_inputs * n_outputs)
            .map(|i| value(i).powi(3))
            .collect()
    }

    fn amax(values: &[f32], scheme: Fp4Scheme) -> Option<f32> {
        let amax = values
            .iter()
            .fold(0f32, |most, value| most.max(value.abs()));
        matches!(scheme, Fp4Scheme::Nvfp4 { .. }).then_some(amax)
    }

    /// Inputs that have nothing in common cannot make up for each other.
    #[test]
    fn with_independent_inputs_it_is_rounding_to_nearest() {
        let shape @ [n_inputs, n_outputs] = [64, 3];
        let mut identity = vec![0.0; n_inputs * n_inputs];
        (0..n_inputs).for_each(|i| identity[i * n_inputs + i] = 2.0);
        for scheme in SCHEMES {
            let mut values = weights(n_inputs, n_outputs);
            let nearest = SliceQuantizer::new(scheme).quantize(&values, &shape, 0);
            let nearest = nearest.expect("finite");
            let amax = amax(&values, scheme);
            let rounded = round_matrix(
                &mut values,
                (n_inputs, n_outputs),
                &identity,
                (scheme, amax),
            )
            .expect("finite");
            assert_eq!(rounded.codes, nearest.codes(), "{scheme}");
            assert_eq!(rounded.scales, nearest.scales(), "{scheme}");
        }
    }

    /// The same by the formulas of Optimal Brain Surgeon, with an inverse that shrinks after every input, in `f64`.
    #[test]
    fn codes_are_those_of_the_formulas() {
        let (n_inputs, n_outputs) = (96, 5);
        let x = |row: usize, input: usize| ((row * 131 + input * 37) % 97) as f32 / 48.0 - 1.0;
        let entry = |i: usize, j: usize| (0..200).map(|row| x(row, i) * x(row, j)).sum::<f32>();
        let gram: Vec<f32> = (0..n_inputs * n_inputs)
            .map(|at| entry(at / n_inputs, at % n_inputs))
            .collect();
        let factor = inverse_factor(&gram, n_inputs).expect("positive");
        for scheme in SCHEMES {
            let mut values = weights(n_inputs, n_outputs);
            let amax = amax(&values, scheme);
            let expected = by_formula(&values, (n_inputs, n_outputs), &factor, (scheme, amax));
            let rounded = round_matrix(&mut values, (n_inputs, n_outputs), &factor, (scheme, amax))
                .expect("finite");
            let nibble = |at: usize| rounded.codes[at / 2] >> (4 * (at % 2)) & 15;
            let found: Vec<u8> = (0..n_inputs * n_outputs).map(nibble).collect();
            let differ = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
            // Sums in `f32` may fall on the other side of a boundary once in a while.
            assert!(differ <= 2, "{scheme}: {differ} of {} codes", found.len());
        }
    }

    /// Codes `[out, in]`.
    fn by_formula(
        values: &[f32],
        (n_inputs, n_outputs): (usize, usize),
        factor: &[f64],
        (scheme, amax): (Fp4Scheme, Option<f32>),
    ) -> Vec<u8> {
        let n = n_inputs;
        let mut inverse = vec![0.0; n * n];
        for (i, row) in inverse.chunks_exact_mut(n).enumerate() {
            for (j, entry) in row.iter_mut().enumerate() {
                *entry = (0..n).map(|r| factor[r * n + i] * factor[r * n + j]).sum();
            }
        }
        let mut values: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
        let mut codes = vec![0; n_outputs * n];
        let block_size = scheme.block_size();
        let quantizer = SliceQuantizer::new(scheme).with_global_amax(match amax {
            Some(amax) => GlobalAmax::Frozen(vec![amax]),
            None => GlobalAmax::Dynamic,
        });
        let mut scales = Vec::new();
        for input in 0..n {
            if input % block_size == 0 {
                let block = &values[input * n_outputs..][..block_size * n_outputs];
                let block: Vec<f32> = block.iter().map(|value| *value as f32).collect();
                let packed = quantizer.quantize(&block, &[block_size, n_outputs], 0);
                let packed = packed.expect("finite");
                let global = packed.global_scales().first().copied();
                scales = packed
                    .scales()
                    .iter()
                    .map(|byte| scale(*byte, global))
                    .collect();
            }
            let pivot = inverse[input * n + input];
            for (output, scale) in scales.iter().enumerate() {
                let value = values[input * n_outputs + output];
                let code = code(value as f32 / scale, scheme);
                codes[output * n + input] = code;
                let error = (value - f64::from(e2m1::decode(code) * scale)) / pivot;
                for later in input..n {
                    values[later * n_outputs + output] -= inverse[input * n + later] * error;
                }
            }
            let row = inverse[input * n..][..n].to_vec();
            for i in 0..n {
                for j in 0..n {
                    inverse[i * n + j] -= row[i] * row[j] / pivot;
                }
            }
        }
        codes
    }
}
