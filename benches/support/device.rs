//! The device under test, its dtypes and tensors on it.

use std::time::{Duration, Instant};

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device, Distribution, FloatDType, Tensor};
use burn_fp4::{Fp4Scheme, fake_quantize_along};

/// A device takes large tensors if it rounds 16.6 M `f32` elements faster than this: 27 GB/s.
const LARGE: Duration = Duration::from_millis(5);

/// The device that `BURN_DEVICE` names, or Burn's first choice of those compiled in.
pub struct Target {
    pub device: Device,
    /// Whether tensors of all experts are measured, not of one.
    pub large: bool,
}

impl Target {
    /// Opens the device and prints what it is.
    pub fn open(title: &str) -> Self {
        let device = Device::default();
        let mut target = Self {
            device,
            large: false,
        };
        target.large = target.probe() < LARGE;
        println!("# {title}\n\n{:?}, {}.", target.device, features());
        if !target.large {
            println!("Slower than 27 GB/s: small shapes.");
        }
        println!();
        target
    }

    fn probe(&self) -> Duration {
        let x = self.random([1, 2880, 5760], FloatDType::F32);
        let run = || {
            let start = Instant::now();
            let rounded = fake_quantize_along(x.clone(), 1, &Fp4Scheme::mxfp4());
            self.sync();
            drop(rounded);
            start.elapsed()
        };
        run();
        run()
    }

    /// The dtype of 16 bits that the device computes with, if any, and `f32`.
    pub fn dtypes(&self) -> Vec<FloatDType> {
        let narrow = [FloatDType::BF16, FloatDType::F16];
        let supported = |dtype: &FloatDType| self.device.supports_dtype(*dtype);
        let narrow = narrow.into_iter().find(supported);
        narrow.into_iter().chain([FloatDType::F32]).collect()
    }

    /// Experts per tensor: those of a layer of gpt-oss-20b, or `fallback`.
    pub fn experts(&self, fallback: usize) -> usize {
        if self.large { 32 } else { fallback }
    }

    /// Whether Burn's products of matrices run: not on CubeCL's CPU runtime, which has too little shared
    /// memory for them, nor on software Vulkan, which they crash.
    #[allow(dead_code)] // Not every bench compares with them.
    pub fn has_products(&self) -> bool {
        self.large || matches!(self.device.as_dispatch(), DispatchDevice::Flex(_))
    }

    /// Uniform in +-0.02, as the weights of a layer may be.
    pub fn random<const D: usize>(&self, shape: [usize; D], dtype: FloatDType) -> Tensor<D> {
        let range = Distribution::Uniform(-0.02, 0.02);
        let values = |dtype| Tensor::random(shape, range, (&self.device, dtype));
        if self.large || dtype == FloatDType::F32 {
            return values(dtype.into());
        }
        // CubeCL's CPU runtime claims bf16, but cannot convert to it.
        let data = values(DType::F32).into_data().convert_dtype(dtype.into());
        Tensor::from_data(data, (&self.device, DType::from(dtype)))
    }

    /// Waits for everything that was started.
    pub fn sync(&self) {
        self.device.sync().expect("the device works");
    }
}

/// As in the tables: `bf16`.
pub fn name(dtype: FloatDType) -> String {
    format!("{dtype:?}").to_lowercase()
}

/// Features that change how Burn runs its own operations.
fn features() -> String {
    let features = [
        ("fusion", cfg!(feature = "fusion")),
        ("autotune", cfg!(feature = "autotune")),
        ("cuda-cpp", cfg!(feature = "cuda-cpp")),
    ];
    let on: Vec<_> = features.iter().filter(|(_, on)| *on).collect();
    match on.as_slice() {
        [] => "without fusion and autotune".to_string(),
        on => on
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", "),
    }
}
