//! Float types and the way to float32 and back, slice by slice.

use burn::tensor::Element;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// A float type of tensors. All arithmetic is float32.
pub(crate) trait FloatElement: Element + bytemuck::Pod + Send + Sync {
    /// The values themselves if they are float32, else converted into `space`.
    fn widen<'a>(values: &'a [Self], space: &'a mut Vec<f32>) -> &'a [f32];

    /// Rounds to nearest, ties to even.
    fn narrow(values: &[f32], out: &mut [Self]);
}

impl FloatElement for f32 {
    fn widen<'a>(values: &'a [f32], _: &'a mut Vec<f32>) -> &'a [f32] {
        values
    }

    fn narrow(values: &[f32], out: &mut [f32]) {
        out.copy_from_slice(values);
    }
}

macro_rules! half {
    ($T:ident) => {
        impl FloatElement for $T {
            fn widen<'a>(values: &'a [$T], space: &'a mut Vec<f32>) -> &'a [f32] {
                space.resize(values.len(), 0.0);
                values.convert_to_f32_slice(space);
                space
            }

            fn narrow(values: &[f32], out: &mut [$T]) {
                out.convert_from_f32_slice(values);
            }
        }
    };
}

half!(bf16);
half!(f16);
