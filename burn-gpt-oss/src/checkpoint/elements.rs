//! Element conversion between checkpoint bytes and tensors.

use std::borrow::Cow;

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

/// Element types a model can be loaded into.
pub(crate) trait Weight: Copy + Send + Sync + Default + 'static {
    fn from_f32(value: f32) -> Self;
    fn from_bf16(value: bf16) -> Self;
    fn to_f32(self) -> f32;
}

impl Weight for f32 {
    fn from_f32(value: f32) -> Self {
        value
    }
    fn from_bf16(value: bf16) -> Self {
        value.to_f32()
    }
    fn to_f32(self) -> f32 {
        self
    }
}

impl Weight for bf16 {
    fn from_f32(value: f32) -> Self {
        bf16::from_f32(value)
    }
    fn from_bf16(value: bf16) -> Self {
        value
    }
    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }
}

/// Decodes little-endian floats; `None` for a dtype that is not BF16, F16 or F32.
pub(crate) fn decode<T: Weight>(dtype: Dtype, bytes: &[u8]) -> Option<Vec<T>> {
    match dtype {
        Dtype::BF16 => Some(convert(bytes, |b| T::from_bf16(bf16::from_le_bytes(b)))),
        Dtype::F16 => Some(convert(bytes, |b| {
            T::from_f32(f16::from_le_bytes(b).to_f32())
        })),
        Dtype::F32 => Some(convert(bytes, |b| T::from_f32(f32::from_le_bytes(b)))),
        _ => None,
    }
}

fn convert<const N: usize, T: Weight>(
    bytes: &[u8],
    decode: impl Fn([u8; N]) -> T + Sync,
) -> Vec<T> {
    let (elements, _) = bytes.as_chunks::<N>();
    elements
        .par_iter()
        .with_min_len(1 << 14)
        .map(|element| decode(*element))
        .collect()
}

/// `[rows, cols]` to `[cols, rows]`, in tiles that stay in the cache.
pub(super) fn transpose<T: Copy + Send + Sync + Default>(
    values: &[T],
    rows: usize,
    cols: usize,
) -> Vec<T> {
    const TILE: usize = 32;
    let mut out = vec![T::default(); values.len()];
    if values.is_empty() {
        return out;
    }
    out.par_chunks_mut(TILE * rows)
        .enumerate()
        .for_each(|(tile, chunk)| {
            let first = tile * TILE;
            for row_tile in (0..rows).step_by(TILE) {
                for (c, line) in chunk.chunks_mut(rows).enumerate() {
                    for r in row_tile..(row_tile + TILE).min(rows) {
                        line[r] = values[r * cols + first + c];
                    }
                }
            }
        });
    out
}

/// BF16 bytes of float32 values, nearest even.
pub(super) fn encode_bf16(values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; 2 * values.len()];
    let chunks = bytes
        .par_chunks_mut(2 << 14)
        .zip(values.par_chunks(1 << 14));
    chunks.for_each(|(bytes, values)| {
        for (pair, value) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(values) {
            *pair = bf16::from_f32(*value).to_le_bytes();
        }
    });
    bytes
}

/// The bytes of values that are in BF16.
pub(super) fn bytes_of_bf16(values: &[bf16]) -> Cow<'_, [u8]> {
    match cfg!(target_endian = "little") {
        true => Cow::Borrowed(bytemuck::cast_slice(values)),
        false => Cow::Owned(
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        ),
    }
}

/// The first value that BF16 cannot hold as a finite number.
pub(super) fn first_overflow(values: &[f32]) -> Option<usize> {
    /// Largest float32 magnitude that rounds to a finite BF16 value.
    const LARGEST: f32 = f32::from_bits(0x7f7f_7fff);
    first_of(values, |value| value.is_nan() || value.abs() > LARGEST)
}

/// The first value that is NaN or infinite.
pub(super) fn first_non_finite<T: Weight>(values: &[T]) -> Option<usize> {
    first_of(values, |value| !value.to_f32().is_finite())
}

/// The first value of a kind that hardly ever occurs.
fn first_of<T: Weight>(values: &[T], is: impl Fn(T) -> bool + Sync) -> Option<usize> {
    values
        .par_chunks(1 << 14)
        .enumerate()
        .filter(|(_, chunk)| chunk.iter().fold(false, |any, value| any | is(*value)))
        .find_first(|_| true)
        .and_then(|(i, chunk)| Some((i << 14) + chunk.iter().position(|value| is(*value))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_any_shape() {
        for (rows, cols) in [(1, 1), (3, 70), (33, 64), (100, 31), (0, 5)] {
            let values: Vec<f32> = (0..rows * cols).map(|i| i as f32).collect();
            let turned = transpose(&values, rows, cols);
            for r in 0..rows {
                for c in 0..cols {
                    assert_eq!(turned[c * rows + r], values[r * cols + c]);
                }
            }
        }
    }

    #[test]
    fn overflow_is_what_bf16_makes_infinite() {
        let edge = f32::from_bits(0x7f7f_7fff);
        assert!(bf16::from_f32(edge).is_finite() && !bf16::from_f32(edge.next_up()).is_finite());
        assert_eq!(first_overflow(&[1.0, edge, -edge]), None);
        let mut values = vec![0.5f32; 40_000];
        values[39_000] = f32::NAN;
        assert_eq!(first_overflow(&values), Some(39_000));
        values[17_000] = edge.next_up();
        assert_eq!(first_overflow(&values), Some(17_000));
    }

    #[test]
    fn bf16_survives_a_round_trip() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let values: Vec<f32> = decode(Dtype::BF16, &bytes).expect("float type");
        let again: Vec<bf16> = decode(Dtype::BF16, &encode_bf16(&values)).expect("float type");
        for (bits, half) in (0..=u16::MAX).zip(again) {
            assert!(half.to_bits() == bits || half.is_nan() && bf16::from_bits(bits).is_nan());
        }
    }
}
