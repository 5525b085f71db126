//! The devices of this build, by name.

use burn::tensor::Device;
use clap::ValueEnum;

/// A compute device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceName {
    /// The CPU, in pure Rust
    Flex,
    /// The first NVIDIA GPU
    #[cfg(feature = "cuda")]
    Cuda,
    /// The first GPU that Vulkan, Metal or DirectX 12 finds
    #[cfg(feature = "wgpu")]
    Wgpu,
    /// CubeCL's CPU runtime, to try kernels
    #[cfg(feature = "cpu")]
    Cpu,
}

impl DeviceName {
    pub fn open(self) -> Device {
        match self {
            Self::Flex => Device::flex(),
            #[cfg(feature = "cuda")]
            Self::Cuda => Device::cuda(0),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
            #[cfg(feature = "cpu")]
            Self::Cpu => Device::cpu(),
        }
    }
}
