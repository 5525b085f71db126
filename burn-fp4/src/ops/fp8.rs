//! FP8 fake quantization of tensors.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use super::Fp4Backend;

/// Rounds a tensor to what E4M3 with the scale `amax / 448` can represent; see
/// [`fp8_fake_quantize_slice`](crate::fp8_fake_quantize_slice).
///
/// The gradient passes through unchanged, to the tensor alone. With gradient checkpointing the result
/// is computed again in the backward pass, not kept.
///
/// # Shapes
///
/// - tensor, output: any
/// - amax: f32 `[1]`; [`global_amax`](crate::global_amax) with an NVFP4 scheme finds it
///
/// # Panics
///
/// If the dtype is not `f32`, `bf16` or `f16`, `amax` does not have one element or (where the backend
/// can see its value) is negative or not finite, or the backend does not implement [`Fp4Backend`].
pub fn fp8_fake_quantize<const D: usize>(tensor: Tensor<D>, amax: Tensor<1>) -> Tensor<D> {
    let (tensor, amax) = (tensor.into_dispatch(), amax.into_dispatch());
    Tensor::from_dispatch(Dispatch::fp8_fake_quantize(tensor, amax))
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{DType, Device, TensorData};

    use super::*;
    use crate::codec::fp8::fp8_fake_quantize_slice;

    fn check(device: &Device) {
        let values: Vec<f32> = (0..60).map(|i| (i as f32 - 25.0) * 0.13).collect();
        let data = TensorData::new(values.clone(), [3, 20]);
        let x = Tensor::<2>::from_data(data, device).require_grad();
        let u = (x.clone() * 0.3 + 2.0).detach().require_grad();
        let amax = Tensor::from_floats([3.0], device);
        let product = x.clone() * 2.0;
        let out = fp8_fake_quantize(product.clone(), amax);
        let doubled: Vec<f32> = values.iter().map(|x| x * 2.0).collect();
        let mut wanted = doubled.clone();
        fp8_fake_quantize_slice(&doubled, 3.0, &mut wanted).unwrap();
        let wanted = TensorData::new(wanted, [3, 20]);
        out.clone().inner().into_data().assert_eq(&wanted, true);
        let grads = (out * u.clone()).sum().backward();
        u.grad(&grads).unwrap().into_data().assert_eq(&wanted, true);
        let through = (u.inner() * 2.0).into_data();
        x.grad(&grads)
            .unwrap()
            .into_data()
            .assert_eq(&through, true);
    }

    #[test]
    fn the_operation_is_the_slice_function_and_gradients_pass() {
        check(&Device::flex().autodiff());
        check(&Device::flex().autodiff().gradient_checkpointing());
    }

    #[test]
    fn views_and_half_precision() {
        let device = Device::flex();
        let data = TensorData::new((0..60).map(|i| i as f32 * 0.1).collect(), [3, 20]);
        let x = Tensor::<2>::from_data(data, &device);
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let x = x.clone().cast(dtype);
            let amax = || Tensor::from_floats([3.0], &device);
            let view = fp8_fake_quantize(x.clone().swap_dims(0, 1), amax());
            let wanted = fp8_fake_quantize(x, amax()).swap_dims(0, 1);
            view.into_data().assert_eq(&wanted.into_data(), true);
        }
    }
}
