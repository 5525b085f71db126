//! A module whose weights are FP4 on disk.

mod load;
mod save;

use core::fmt;
use core::ops::Deref;
use std::collections::BTreeMap;

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::Device;

use self::load::Load;
use self::save::Save;
use super::packed_weight::PackedWeight;
use super::path::Path;
use crate::error::Fp4Error;
use crate::packed::PackedFp4;

/// A module with quantized weights: dense while it computes, packed in records.
///
/// It dereferences to the module, so that `packed.forward(x)` works. Records and stores see every
/// quantized weight as the tensors
///
/// - `<path>.codes`: `u8`, `[.., out, in / 2]`
/// - `<path>.scales`: `u8`, `[.., out, in / block_size]`
/// - `<path>.global_scales`: `f32`, `[1]` or `[E]`, in NVFP4 alone
///
/// whose bytes are those of [`PackedFp4`]; they are kept next to the dense weights, not computed
/// again. To load a record, quantize a module in the same way first; its values do not matter. A weight
/// is replaced only if the record has all of its tensors. The dense weight keeps its dtype.
///
/// Quantized weights are never trained: optimizers do not see them as parameters, and `unfreeze` leaves
/// them frozen. Other parameters are not affected. Operations on parameters do not reach the quantized
/// weights, except for saving and loading records. For all other operations, and to train the weights
/// after [`unfreeze`](Module::unfreeze), get the dense module from [`into_inner`](Self::into_inner).
#[derive(Clone, Debug)]
pub struct PackedModule<M> {
    inner: M,
    weights: BTreeMap<String, PackedWeight>,
    load_error: Option<Fp4Error>,
}

impl<M: Module> PackedModule<M> {
    /// `weights` are by path, and the parameters of `inner` there hold their values.
    pub(super) fn new(inner: M, weights: BTreeMap<String, PackedWeight>) -> Self {
        Self {
            inner,
            weights,
            load_error: None,
        }
    }

    /// The dense module, its weights at the values of the packed ones and frozen.
    pub fn into_inner(self) -> M {
        self.inner
    }

    /// The quantized weight at a module path such as `layers.0.linear.weight`.
    ///
    /// # Shapes
    ///
    /// - output: `[.., out, in]` for a weight `[.., in, out]`
    pub fn packed(&self, path: &str) -> Option<&PackedFp4> {
        self.weights.get(path).map(|weight| &*weight.packed)
    }

    /// All quantized weights with their module paths.
    pub fn packed_weights(&self) -> impl Iterator<Item = (&str, &PackedFp4)> {
        let weights = self.weights.iter();
        weights.map(|(path, weight)| (path.as_str(), &*weight.packed))
    }

    /// The first error of a weight whose record has the right shapes but unusable values, for example codes
    /// that are not bytes. Burn's loaders report all other errors; they do not report this one.
    pub fn load_error(&self) -> Option<&Fp4Error> {
        self.load_error.as_ref()
    }

    fn with_inner(self, change: impl FnOnce(M) -> M) -> Self {
        Self {
            inner: change(self.inner),
            ..self
        }
    }
}

impl<M> Deref for PackedModule<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.inner
    }
}

impl<M: Module> Module for PackedModule<M> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.inner.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        self.with_inner(|inner| inner.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.with_inner(|inner| inner.to_device(device))
    }

    fn train(self) -> Self {
        self.with_inner(Module::train)
    }

    fn valid(&self) -> Self {
        Self {
            inner: self.inner.valid(),
            weights: self.weights.clone(),
            load_error: self.load_error.clone(),
        }
    }

    fn materialize(self) -> Self {
        self.with_inner(Module::materialize)
    }

    /// Elements, not bytes: as many as without quantization.
    fn num_params(&self) -> usize {
        self.inner.num_params()
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.inner.visit(&mut Save {
            weights: &self.weights,
            visitor,
            path: Path::default(),
        });
    }

    fn map<Mapper: ModuleMapper>(mut self, mapper: &mut Mapper) -> Self {
        let mut load = Load {
            weights: &mut self.weights,
            mapper,
            path: Path::default(),
            error: None,
        };
        let inner = self.inner.map(&mut load);
        let load_error = load.error.or(self.load_error);
        Self {
            inner,
            weights: self.weights,
            load_error,
        }
    }
}

impl<M: ModuleDisplay> ModuleDisplayDefault for PackedModule<M> {
    fn content(&self, content: Content) -> Option<Content> {
        self.inner.content(content)
    }
}

impl<M: ModuleDisplay> ModuleDisplay for PackedModule<M> {}

impl<M: fmt::Display> fmt::Display for PackedModule<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
