//! Float types and the way to float32 and back, slice by slice.

use burn::tensor::Element;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// A float type of tensors. All arithmetic is float32.
pub trait FloatElement: Element + bytemuck::Pod + Send + Sync {
    /// The values themselves if they are float32, else converted into `space`.
    fn widen<'a>(values: &'a [Self], space: &'a mut Vec<f32>) -> &'a [f32];

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
fn widen_bf16(values: &[bf16], out: &mut [f32]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = f32::from_bits(u32::from(value.to_bits()) << 16);
    }
}

fn widen_f16(values: &[f16], out: &mut [f32]) {
    values.convert_to_f32_slice(out);
}

macro_rules! half {
    ($T:ident, $widen:ident) => {
        impl FloatElement for $T {
            fn widen<'a>(values: &'a [$T], space: &'a mut Vec<f32>) -> &'a [f32] {
                space.resize(values.len(), 0.0);
                $widen(values, space);
                space
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

half!(bf16, widen_bf16);
half!(f16, widen_f16);
