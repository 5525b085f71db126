//! Inputs, and what all comparisons share.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// Relative error of one rounding.
pub fn unit(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 2f64.powi(-24),
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        other => panic!("{other:?}"),
    }
}

pub const DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

pub fn device() -> Device {
    Device::flex().autodiff()
}

/// Values in `[-scale, scale]` without a pattern, of a dtype.
pub fn sample<const D: usize>(shape: [usize; D], scale: f32, dtype: DType) -> Tensor<D> {
    let n_elements = shape.iter().product::<usize>();
    let seed = shape.iter().fold(17, |seed, len| seed * 31 + len);
    let value = |i: usize| ((i * 7919 + seed) * (i + 13) % 2003) as f32 / 1001.0 - 1.0;
    let values = (0..n_elements).map(|i| value(i) * scale);
    let data = TensorData::new(values.collect::<Vec<_>>(), shape);
    Tensor::from_data(data, (&device(), dtype))
}

/// A copy in float64 with a gradient of its own.
pub fn exact<const D: usize>(tensor: &Tensor<D>) -> Tensor<D> {
    let exact = tensor.clone().cast(DType::F64);
    Tensor::<D>::from_data(exact.into_data(), (&device(), DType::F64)).require_grad()
}

pub fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
    tensor.clone().try_to_vec_as::<f64>().unwrap()
}

/// `sum(tensor * weights)` with weights that differ everywhere: gives each element another gradient.
pub fn mixed<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let dtype = tensor.dtype();
    let weights = sample(tensor.dims(), 1.0, DType::F32).cast(dtype);
    (tensor * weights).sum()
}

/// Every element within `limit` of the wanted one, relative to the largest of these.
pub fn assert_close<const D: usize>(what: &str, found: &Tensor<D>, wanted: &Tensor<D>, limit: f64) {
    assert_within(what, found, wanted, limit * largest(wanted));
}

/// Every element within `limit` of the wanted one.
pub fn assert_within<const D: usize>(
    what: &str,
    found: &Tensor<D>,
    wanted: &Tensor<D>,
    limit: f64,
) {
    assert_eq!(found.dims(), wanted.dims(), "{what}: shape");
    for (i, (found, wanted)) in values(found).iter().zip(values(wanted)).enumerate() {
        let deviation = (found - wanted).abs();
        assert!(
            deviation <= limit,
            "{what}, {i}: {found}, expected {wanted}; deviation {deviation:e}, limit {limit:e}"
        );
    }
}

pub fn largest<const D: usize>(tensor: &Tensor<D>) -> f64 {
    values(tensor).iter().fold(0.0, |most, x| most.max(x.abs()))
}

/// The gradient of `of` at `x` along one direction, against the quotient of its values at both sides.
///
/// The error of the quotient is that of float32 sums over the step, and the third derivative times the
/// step squared.
pub fn assert_slope<const D: usize>(
    what: &str,
    x: &Tensor<D>,
    of: impl Fn(Tensor<D>) -> Tensor<1>,
) {
    const STEP: f64 = 1.0 / 128.0;
    const LIMIT: f64 = 2e-3;
    let along = sample(x.dims(), 1.0, DType::F32).add_scalar(0.1);
    let at = |step: f64| {
        let moved = of(x.clone() + along.clone() * step);
        values(&moved)[0]
    };
    let found = (at(STEP) - at(-STEP)) / (2.0 * STEP);
    let tracked = x.clone().detach().require_grad();
    let gradient = of(tracked.clone()).backward();
    let gradient = tracked.grad(&gradient).unwrap();
    let wanted = values(&(gradient * along.inner()).sum())[0];
    let deviation = (found - wanted).abs();
    assert!(
        deviation <= LIMIT * wanted.abs().max(1.0),
        "{what}: slope {found}, gradient {wanted}"
    );
}

/// The same bits with any number of threads.
pub fn assert_same_on_threads(what: &str, run: impl Fn() -> Vec<Vec<f64>> + Sync) {
    let on = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads);
        pool.build().unwrap().install(&run)
    };
    assert_eq!(on(1), on(3), "{what}: one and three threads");
}
