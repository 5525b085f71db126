//! The CubeCL runtimes that kernels are tested on.

use std::panic::catch_unwind;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Device, TensorData};
use burn_cubecl::CubeDevice;
use burn_cubecl::ops::into_data_sync;
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::zspace::metadata::Metadata;

/// A runtime, and with wgpu the shader compiler.
pub struct TestRuntime {
    /// `cpu`, `vulkan` (SPIR-V), `wgsl` or `cuda`.
    pub name: &'static str,
    client: Client,
    device: CubeDevice,
}

/// Names the runtimes that must be there, separated by commas; without it those that are there.
const REQUIRED: &str = "BURN_FP4_BACKENDS";

/// The runtimes to test on, one test at a time: software Vulkan does not bear more.
pub struct Runtimes {
    found: std::vec::IntoIter<TestRuntime>,
    _alone: MutexGuard<'static, ()>,
}

impl Iterator for Runtimes {
    type Item = TestRuntime;

    fn next(&mut self) -> Option<TestRuntime> {
        self.found.next()
    }
}

/// The runtimes to test on.
///
/// # Panics
///
/// If one that is required is not there.
pub fn runtimes() -> Runtimes {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed says so itself.
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Runtimes {
        found: find().into_iter(),
        _alone: alone,
    }
}

fn find() -> Vec<TestRuntime> {
    let required = std::env::var(REQUIRED).ok();
    let wanted = |name: &str| match &required {
        Some(names) => names.split(',').any(|wanted| wanted.trim() == name),
        None => true,
    };
    let mut found = Vec::new();
    for (name, start) in known() {
        if !wanted(name) {
            continue;
        }
        match catch_unwind(start) {
            Ok((client, device)) => found.push(TestRuntime {
                name,
                client,
                device,
            }),
            Err(_) if required.is_some() => panic!("{REQUIRED} names {name}, which is not here"),
            Err(_) => eprintln!("not tested on {name}, which is not here"),
        }
    }
    if let Some(names) = required {
        for name in names.split(',') {
            let here = found.iter().any(|runtime| runtime.name == name.trim());
            assert!(
                here,
                "{REQUIRED} names {name}, which this build does not have"
            );
        }
    }
    found
}

/// Burn's device for every runtime that Burn can start itself, in place of the runtime; the first value keeps other
/// tests waiting.
///
/// # Panics
/// If a runtime that is required is not there.
pub fn devices() -> (Runtimes, Vec<(&'static str, Device)>) {
    let mut all = runtimes();
    let names: Vec<_> = all.by_ref().map(|runtime| runtime.name).collect();
    let device = |name: &'static str| {
        let device = match name {
            #[cfg(feature = "cpu")]
            "cpu" => Device::cpu(),
            #[cfg(feature = "cuda")]
            "cuda" => Device::cuda(0),
            #[cfg(feature = "vulkan")]
            "vulkan" => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
            _ => return None,
        };
        Some((name, device))
    };
    (all, names.into_iter().filter_map(device).collect())
}

type Start = fn() -> (Client, CubeDevice);

fn known() -> Vec<(&'static str, Start)> {
    vec![
        #[cfg(feature = "cpu")]
        ("cpu", || own_client(CubeDevice::Cpu(Default::default()))),
        #[cfg(feature = "cuda")]
        ("cuda", || own_client(CubeDevice::Cuda(Default::default()))),
        #[cfg(feature = "vulkan")]
        ("vulkan", || {
            let (client, device) = own_client(CubeDevice::Wgpu(wgpu_device()));
            assert_eq!(
                client.name(),
                "wgpu<spirv>",
                "the shader compiler of Vulkan"
            );
            (client, device)
        }),
        #[cfg(feature = "wgpu")]
        ("wgsl", || {
            use cubecl::wgpu::{WgpuServer, WgslCompiler};
            let (client, device) = own_client(CubeDevice::Wgpu(wgpu_device()));
            let id = client.service_id().device;
            (Client::load::<WgpuServer<WgslCompiler>>(id), device)
        }),
    ]
}

fn own_client(device: CubeDevice) -> (Client, CubeDevice) {
    let client = device.client();
    (client, device)
}

/// The first GPU, or the software rasterizer if there is none.
#[cfg(feature = "wgpu")]
fn wgpu_device() -> cubecl::device::WgpuDevice {
    Default::default()
}

impl TestRuntime {
    /// Whether the runtime has a float type. Kernels do not need it, but copies do.
    pub fn has(&self, dtype: DType) -> bool {
        self.name != "wgsl" || dtype != DType::BF16
    }

    /// A contiguous tensor.
    pub fn tensor(&self, data: TensorData) -> CubeTensor {
        let (bytes, shape, dtype) = data.into_parts();
        // Uploads of wgpu are whole words.
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len().next_multiple_of(4), 0xff);
        let memory = self.client.create_from_slice(&bytes);
        let (client, device) = (self.client.clone(), self.device.clone());
        CubeTensor::new_contiguous(client, device, shape, memory, dtype)
    }

    /// The same tensor in memory with room behind every row of the last axis.
    pub fn pitched(&self, data: &TensorData, pitch: usize) -> CubeTensor {
        let size = data.dtype().size();
        let width = data.shape()[data.shape().len() - 1] * size;
        let rows = data.as_bytes().chunks(width);
        // What is in a gap must not matter: all ones are NaN.
        let padded = rows.flat_map(|row| {
            let gap = std::iter::repeat_n(0xff, pitch * size - width);
            row.iter().copied().chain(gap).collect::<Vec<u8>>()
        });
        let mut strides = vec![1; data.shape().len()];
        for i in (0..strides.len() - 1).rev() {
            let below = if i + 2 == strides.len() {
                pitch
            } else {
                data.shape()[i + 1]
            };
            strides[i] = strides[i + 1] * below;
        }
        let bytes: Vec<u8> = padded.collect();
        let memory = self.client.create_from_slice(&bytes);
        let meta = Metadata::new(data.shape().clone(), strides);
        let (client, device) = (self.client.clone(), self.device.clone());
        CubeTensor::new(client, memory, meta, device, data.dtype())
    }
}

/// The values of a tensor.
pub fn read(mut tensor: CubeTensor) -> TensorData {
    let (shape, dtype) = (tensor.shape(), tensor.dtype);
    // Not every runtime that has `bf16` can bring a view of it in order.
    if dtype == DType::BF16 {
        tensor.dtype = DType::U16;
    }
    let (bytes, read_shape, _) = into_data_sync(tensor).into_parts();
    assert_eq!(read_shape, shape, "shape of what was read");
    TensorData::from_bytes(bytes, shape, dtype)
}
