//! The fast paths against the definition of the format, computed in f64.

use half::{bf16, f16};
use proptest::prelude::*;

use super::*;
use crate::codec::e2m1::VALUES;
use crate::codec::format::with_format;
use crate::packed::PackedFp4;
use crate::scheme::scale_rule::{Nvfp4ScaleRule, ScaleRule};
use crate::simd::Kernel;

const SCHEME: Fp4Scheme = Fp4Scheme::mxfp4();

/// The smallest power of two with `amax / scale <= 6`, then the nearest of the 8 magnitudes, a tie
/// going to the even code; shares nothing with the crate but the table of values.
fn oracle(block: &[f32]) -> Vec<f32> {
    let amax = block
        .iter()
        .fold(0.0f64, |max, &x| max.max(f64::from(x).abs()));
    let scale = (-127..=127)
        .map(|exponent| 2f64.powi(exponent))
        .find(|scale| amax <= 6.0 * scale)
        .unwrap();
    let round = |x: f32| {
        let y = f64::from(x).abs() / scale;
        let distance = |code: usize| (f64::from(VALUES[code]) - y).abs();
        let code = (0..8usize)
            .min_by(|&a, &b| {
                let parity = (a % 2).cmp(&(b % 2));
                distance(a).total_cmp(&distance(b)).then(parity)
            })
            .unwrap();
        ((f64::from(VALUES[code]) * scale) as f32).copysign(x)
    };
    block.iter().map(|&x| round(x)).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Deterministic values of mixed sign and size.
fn sample(n_elements: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n_elements)
        .map(|i| next() * ((i / 97 % 9) as f32 - 4.0).exp2())
        .collect()
}

/// `[outer, len, inner]` to `[outer, inner, len]`.
fn axis_last<T: Copy>(values: &[T], outer: usize, len: usize, inner: usize) -> Vec<T> {
    let mut moved = Vec::with_capacity(values.len());
    for o in 0..outer {
        for i in 0..inner {
            moved.extend((0..len).map(|l| values[(o * len + l) * inner + i]));
        }
    }
    moved
}

fn any_block() -> impl Strategy<Value = Vec<f32>> {
    let wide = any::<u32>()
        .prop_map(f32::from_bits)
        .prop_filter("finite", |x| x.is_finite());
    let near = (-8.0f32..8.0, -4i32..4).prop_map(|(x, e)| (x * 4.0).round() / 4.0 * 2f32.powi(e));
    prop_oneof![
        prop::collection::vec(wide, 32),
        prop::collection::vec(near, 32),
        prop::collection::vec(-1.0f32..1.0, 32),
    ]
}

proptest! {
    #[test]
    fn f32_blocks_equal_the_definition(block in any_block()) {
        let fast = fake_quantize_slice(&block, &[32], 0, &SCHEME).unwrap();
        prop_assert_eq!(bits(&fast), bits(&oracle(&block)));
        let packed = PackedFp4::quantize(&block, &[32], 0, SCHEME).unwrap();
        prop_assert_eq!(bits(&packed.dequantize()), bits(&fast));
    }

    #[test]
    fn any_axis_equals_moving_it_last(outer in 1usize..4, blocks in 1usize..4, inner in 1usize..300) {
        let len = blocks * 32;
        let values = sample(outer * len * inner);
        let fast = fake_quantize_slice(&values, &[outer, len, inner], 1, &SCHEME).unwrap();
        let moved = axis_last(&values, outer, len, inner);
        let last = fake_quantize_slice(&moved, &[outer, inner, len], 2, &SCHEME).unwrap();
        prop_assert_eq!(bits(&axis_last(&fast, outer, len, inner)), bits(&last));
    }
}

#[test]
fn all_bf16_values_as_elements() {
    let finite = (0..=u16::MAX)
        .map(bf16::from_bits)
        .filter(|x| x.is_finite());
    let values: Vec<bf16> = finite.collect();
    // Ascending order keeps neighbours in one block; the reversed stride mixes magnitudes.
    let mixed = (0..values.len()).map(|i| values[i * 32_771 % values.len()]);
    for values in [values.clone(), mixed.collect()] {
        let values = &values[..values.len() / 32 * 32];
        let fast = fake_quantize_slice(values, &[values.len()], 0, &SCHEME).unwrap();
        for (block, fast) in values.chunks(32).zip(fast.chunks(32)) {
            let wide: Vec<f32> = block.iter().map(|x| x.to_f32()).collect();
            let fast: Vec<f32> = fast.iter().map(|x| x.to_f32()).collect();
            assert_eq!(bits(&fast), bits(&oracle(&wide)), "{wide:?}");
        }
    }
}

#[test]
fn all_f16_values_as_elements() {
    let finite = (0..=u16::MAX).map(f16::from_bits).filter(|x| x.is_finite());
    let values: Vec<f16> = finite.collect();
    let fast = fake_quantize_slice(&values, &[values.len()], 0, &SCHEME).unwrap();
    for (block, fast) in values.chunks(32).zip(fast.chunks(32)) {
        let wide: Vec<f32> = block.iter().map(|x| x.to_f32()).collect();
        for (&wanted, &fast) in oracle(&wide).iter().zip(fast) {
            assert_eq!(f16::from_f32(wanted).to_bits(), fast.to_bits());
        }
    }
}

#[test]
fn non_finite_elements_saturate_and_leave_their_neighbours_alone() {
    let mut block = vec![1.0f32; 32];
    block[0] = f32::NAN;
    block[1] = -f32::NAN;
    for (shape, axis) in [([1, 32], 1), ([32, 1], 0)] {
        let out = fake_quantize_slice(&block, &shape, axis, &SCHEME).unwrap();
        assert_eq!((out[0], out[1], out[2]), (1.5, -1.5, 1.0));
    }
    block[2] = f32::NEG_INFINITY;
    let out = fake_quantize_slice(&block, &[32], 0, &SCHEME).unwrap();
    assert_eq!((out[2], out[3]), (f32::NEG_INFINITY, 0.0));
    let nothing_else = fake_quantize_slice(&[f32::NAN; 32], &[32], 0, &SCHEME).unwrap();
    assert_eq!(nothing_else, [6.0; 32]);
}

/// More columns than a tile has.
const WIDE: usize = 2_100;

#[test]
fn a_strided_column_with_nan_does_not_disturb_the_others() {
    let mut values = sample(32 * WIDE);
    let clean = fake_quantize_slice(&values, &[32, WIDE], 0, &SCHEME).unwrap();
    values[5 * WIDE + 2_071] = f32::NAN;
    let dirty = fake_quantize_slice(&values, &[32, WIDE], 0, &SCHEME).unwrap();
    for (i, (clean, dirty)) in clean.iter().zip(&dirty).enumerate() {
        assert!(i % WIDE == 2_071 || clean.to_bits() == dirty.to_bits());
    }
    assert!(dirty.iter().all(|x| x.is_finite()));
}

#[test]
fn wide_rows_equal_the_definition() {
    let values = sample(64 * WIDE);
    let fast = fake_quantize_slice(&values, &[64, WIDE], 0, &SCHEME).unwrap();
    let columns = axis_last(&values, 1, 64, WIDE);
    let wanted: Vec<f32> = columns.chunks(32).flat_map(oracle).collect();
    assert_eq!(bits(&axis_last(&fast, 1, 64, WIDE)), bits(&wanted));
}

/// `run` without `dispatch` is what a processor without AVX2 executes.
struct Baseline<'a> {
    values: &'a [f32],
    out: &'a mut [f32],
    inner: usize,
}

impl FormatTask for Baseline<'_> {
    type Output = ();

    fn run<F: Format, const N: usize>(self, formats: &[F]) {
        let (values, out, format) = (self.values, self.out, formats[0]);
        if self.inner == 1 {
            contiguous::Blocks::<f32, F, N> {
                values,
                out,
                format,
            }
            .run();
            return;
        }
        let slab = N * self.inner;
        for (values, out) in values.chunks(slab).zip(out.chunks_mut(slab)) {
            strided::Slab::<f32, F, N> {
                values,
                out,
                inner: self.inner,
                format,
            }
            .run();
        }
    }
}

#[test]
fn both_instruction_sets_give_the_same_bits() {
    let values = sample(32 * WIDE);
    let amax = values.iter().fold(0f32, |max, x| max.max(x.abs()));
    for scheme in every_scheme() {
        let global_scales = match scheme {
            Fp4Scheme::Mxfp4 { .. } => vec![],
            Fp4Scheme::Nvfp4 { scale_rule, .. } => vec![scale_rule.global_scale(amax)],
        };
        for (shape, axis, inner) in [([WIDE, 32], 1, 1), ([32, WIDE], 0, WIDE)] {
            let mut out = vec![0.0; values.len()];
            let task = Baseline {
                values: &values,
                out: &mut out,
                inner,
            };
            with_format(&scheme, &global_scales, task);
            let wanted = fake_quantize_slice(&values, &shape, axis, &scheme).unwrap();
            assert_eq!(bits(&out), bits(&wanted), "{scheme}, {shape:?}");
        }
    }
}

/// Every rule of both formats.
fn every_scheme() -> Vec<Fp4Scheme> {
    let mx = [
        ScaleRule::Ceil,
        ScaleRule::Floor,
        ScaleRule::Even,
        ScaleRule::Mse,
    ];
    let nv = [
        Nvfp4ScaleRule::Nearest,
        Nvfp4ScaleRule::Mse,
        Nvfp4ScaleRule::FourOverSix,
    ];
    let mx = mx.map(Fp4Scheme::mxfp4_with).into_iter();
    let nv = nv.map(Fp4Scheme::nvfp4_with).into_iter();
    mx.chain(nv).chain([Fp4Scheme::nvfp4_block32()]).collect()
}

#[test]
fn threads_and_chunks_do_not_change_a_bit() {
    let n_elements = 3 * CHUNK + 7 * 32;
    let values = sample(n_elements);
    let blockwise: Vec<f32> = values.chunks(32).flat_map(oracle).collect();
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let out = pool.install(|| fake_quantize_slice(&values, &[n_elements], 0, &SCHEME).unwrap());
        assert_eq!(bits(&out), bits(&blockwise));
    }
}

#[test]
fn sizes_are_checked() {
    let values = [0.0f32; 64];
    let error = fake_quantize_slice(&values, &[3, 32], 1, &SCHEME).unwrap_err();
    assert_eq!(
        error.to_string(),
        "values has 64 elements, but shape [3, 32] needs 96"
    );
    let mut out = [0.0f32; 32];
    assert!(fake_quantize_into(&values, &[2, 32], 1, &SCHEME, &mut out).is_err());
    assert!(
        fake_quantize_slice::<f32>(&[], &[0, 32], 1, &SCHEME)
            .unwrap()
            .is_empty()
    );
}
