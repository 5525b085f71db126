use burn_gpt_oss::{GptOss, GptOssConfig, Rope, RopeConfig};

use crate::deviation::Deviations;
use crate::golden::{Array, Golden};

/// Half an ulp of float32, relative.
const HALF_ULP: f64 = f32::EPSILON as f64 / 2.0;

/// The tables of the tiny model.
pub fn check_model(model: &GptOss, expected: &Golden) {
    let rope = Rope::new(model.config());
    let mut deviations = Deviations::new("rope of the tiny model");
    let scaling = f64::from(expected.f32("rope.attention_scaling").scalar());
    deviations.scalar(
        "concentration",
        rope.concentration(),
        scaling,
        1e-6 * scaling,
    );
    check_inv_freq(&rope, &expected.f32("rope.inv_freq"), &mut deviations);
    let [len, _] = expected.f32("rope.cos").dims();
    let positions: Vec<usize> = (0..len).collect();
    let pair = (expected.f32("rope.cos"), expected.f32("rope.sin"));
    check_tables(&rope, &positions, &pair, &mut deviations);
}

/// The tables of the published models.
pub fn check_published(tables: &Golden) {
    let positions = tables.i64("positions").values;
    let positions: Vec<usize> = positions.iter().map(|p| *p as usize).collect();
    let config = GptOssConfig::gpt_oss_20b().rope;
    let head_dim = 2 * tables.f32("f32.inv_freq").values.len();
    let rope = Rope::from_parts(&config, head_dim);
    let mut deviations = Deviations::new("rope of the published models");

    check_inv_freq(&rope, &tables.f32("f32.inv_freq"), &mut deviations);
    let pair = (tables.f32("f32.cos"), tables.f32("f32.sin"));
    check_tables(&rope, &positions, &pair, &mut deviations);
    check_against_f64(&rope, &positions, tables, &mut deviations);
    check_bounds(&rope, &config, tables, &mut deviations);

    let truncated = Rope::from_parts(
        &RopeConfig {
            truncate: true,
            ..config
        },
        head_dim,
    );
    let expected = tables.f64("f64.inv_freq_if_truncate_true").values;
    check_relative(
        "inv_freq, truncated",
        &truncated,
        &expected,
        HALF_ULP,
        &mut deviations,
    );
}

/// The package computes the frequencies in float32, with up to 8 roundings.
fn check_inv_freq(rope: &Rope, expected: &Array<f32>, deviations: &mut Deviations) {
    let expected: Vec<f64> = expected
        .values
        .iter()
        .map(|value| f64::from(*value))
        .collect();
    check_relative("inv_freq, f32", rope, &expected, 1e-6, deviations);
}

fn check_relative(
    group: &str,
    rope: &Rope,
    expected: &[f64],
    limit: f64,
    deviations: &mut Deviations,
) {
    assert_eq!(rope.inv_freq().len(), expected.len(), "{group}: length");
    for (found, expected) in rope.inv_freq().iter().zip(expected) {
        deviations.scalar(group, f64::from(*found) / expected, 1.0, limit);
    }
}

/// An angle is a float32 product with a float32 frequency, so its error grows with it. The limit
/// is 1e-6 plus what the deviation of the frequency (limited above) makes of it.
fn check_tables(
    rope: &Rope,
    positions: &[usize],
    (cos, sin): &(Array<f32>, Array<f32>),
    deviations: &mut Deviations,
) {
    let found = rope.tables_at(positions.iter().copied());
    let width = rope.inv_freq().len();
    assert_eq!(cos.shape, [positions.len(), width], "shape of cos");
    assert_eq!(sin.shape, cos.shape, "shape of sin");
    for (row, position) in positions.iter().enumerate() {
        for j in 0..width {
            let angle = *position as f64 * f64::from(rope.inv_freq()[j]);
            let limit = rope.concentration() * (1e-6 + 4.0 * HALF_ULP * angle);
            let i = row * width + j;
            deviations.scalar("cos, f32", found.0[i].into(), cos.values[i].into(), limit);
            deviations.scalar("sin, f32", found.1[i].into(), sin.values[i].into(), limit);
        }
    }
}

/// Against float64 we may be as wrong as the package in float32 is, per position (its own errors
/// are those the README states), and never more than two roundings of the angle explain.
fn check_against_f64(
    rope: &Rope,
    positions: &[usize],
    tables: &Golden,
    deviations: &mut Deviations,
) {
    let expected = tables.f64("f64.inv_freq").values;
    check_relative("inv_freq, f64", rope, &expected, HALF_ULP, deviations);
    let found = rope.tables_at(positions.iter().copied());
    let width = rope.inv_freq().len();
    for (key, found) in [("cos", found.0), ("sin", found.1)] {
        let exact = tables.f64(&format!("f64.{key}")).values;
        let package = tables.f32(&format!("f32.{key}")).values;
        let error = |values: &[f32], row: usize| {
            let row = row * width..(row + 1) * width;
            let pairs = values[row.clone()].iter().zip(&exact[row]);
            pairs
                .map(|(a, b)| (f64::from(*a) - b).abs())
                .fold(0.0, f64::max)
        };
        for (row, position) in positions.iter().enumerate() {
            let (ours, theirs) = (error(&found, row), error(&package, row));
            println!("rope, {key} at {position}: error {ours:.1e}, the package's {theirs:.1e}");
            let bound = rope.concentration() * (2.0 * HALF_ULP * *position as f64 + 4.0 * HALF_ULP);
            deviations.scalar(&format!("{key}, f64"), ours, 0.0, bound);
            deviations.scalar(
                &format!("{key}, f64, package"),
                ours,
                0.0,
                1.5 * theirs + 2e-7,
            );
        }
    }
}

/// The bounds of the interpolation follow from the ramp in the frequencies.
fn check_bounds(rope: &Rope, config: &RopeConfig, tables: &Golden, deviations: &mut Deviations) {
    let expected = tables.f64("f64.low_high_concentration").values;
    let [low, high, concentration] = expected[..] else {
        panic!("three values: {expected:?}")
    };
    deviations.scalar("concentration", rope.concentration(), concentration, 1e-12);

    let width = rope.inv_freq().len() as f64;
    let ramp = |j: usize| {
        let plain = config.theta.powf(-(j as f64) / width);
        let ratio = f64::from(rope.inv_freq()[j]) / plain;
        (1.0 - ratio) / (1.0 - 1.0 / config.factor)
    };
    let (first, last) = (low.ceil() as usize, high.floor() as usize);
    let slope = (ramp(last) - ramp(first)) / (last - first) as f64;
    let found = first as f64 - ramp(first) / slope;
    deviations.scalar("low", found, low, 1e-5);
    deviations.scalar("high", found + 1.0 / slope, high, 1e-5);
}
