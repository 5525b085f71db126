//! Float types and the way to float32 and back, slice by slice.

use burn::tensor::Element;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// A float type of tensors. All arithmetic is float32.
pub trait FloatElement: Element + bytemuck::Pod + Send + Sync {
    /// The values themselves if they are float32, else converted into `space`.
    fn widen<'a>(values: &'a [Self], space: &'a mut Vec<f32>) -> &'a [f32];

    /// Appends the values as float32.
    fn append(values: &[Self], out: &mut Vec<f32>);

    /// Rounds to nearest, ties to even.
    fn narrow(values: &[f32], out: &mut [Self]);

    /// [`narrow`](Self::narrow) of a vector, without a copy if it is float32.
    fn narrowed(values: Vec<f32>) -> Vec<Self>;

    /// The values if they are float32.
    fn as_f32(values: &[Self]) -> Option<&[f32]>;
}

impl FloatElement for f32 {
    fn widen<'a>(values: &'a [f32], _: &'a mut Vec<f32>) -> &'a [f32] {
        values
    }

    fn append(values: &[f32], out: &mut Vec<f32>) {
        out.extend_from_slice(values);
    }

    fn narrow(values: &[f32], out: &mut [f32]) {
        out.copy_from_slice(values);
    }

    fn narrowed(values: Vec<f32>) -> Vec<f32> {
        values
    }

    fn as_f32(values: &[f32]) -> Option<&[f32]> {
        Some(values)
    }
}

/// A bfloat16 number has the first bits of the float32 one; the library looks for NaN, one number at a time.
fn append_bf16(values: &[bf16], out: &mut Vec<f32>) {
    let widened = |value: &bf16| f32::from_bits(u32::from(value.to_bits()) << 16);
    out.extend(values.iter().map(widened));
}

fn append_f16(values: &[f16], out: &mut Vec<f32>) {
    let start = out.len();
    out.resize(start + values.len(), 0.0);
    values.convert_to_f32_slice(&mut out[start..]);
}

macro_rules! half {
    ($T:ident, $append:ident) => {
        impl FloatElement for $T {
            fn widen<'a>(values: &'a [$T], space: &'a mut Vec<f32>) -> &'a [f32] {
                space.clear();
                $append(values, space);
                space
            }

            fn append(values: &[$T], out: &mut Vec<f32>) {
                $append(values, out);
            }

            fn narrow(values: &[f32], out: &mut [$T]) {
                out.convert_from_f32_slice(values);
            }

            fn narrowed(values: Vec<f32>) -> Vec<$T> {
                let mut out = vec![$T::ZERO; values.len()];
                out.convert_from_f32_slice(&values);
                out
            }

            fn as_f32(_: &[$T]) -> Option<&[f32]> {
                None
            }
        }
    };
}

half!(bf16, append_bf16);
half!(f16, append_f16);
