//! The largest magnitude that a frozen global scale is made from, as part of a module.

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
    Param, ParamId,
};
use burn::tensor::{Device, Tensor};

/// A recorded parameter that is never trained, whatever is done to the module around it.
#[derive(Clone, Debug)]
pub(super) struct FrozenAmax(Param<Tensor<1>>);

impl FrozenAmax {
    pub fn new(amax: Tensor<1>) -> Self {
        let amax = amax.detach().set_require_grad(false);
        Self(Param::initialized(ParamId::new(), amax))
    }

    pub fn val(&self) -> Tensor<1> {
        self.0.val()
    }
}

impl Module for FrozenAmax {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.0.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        Self(self.0.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        Self(self.0.to_device(device))
    }

    fn train(self) -> Self {
        Self(self.0.train())
    }

    fn valid(&self) -> Self {
        Self(self.0.valid())
    }

    fn materialize(self) -> Self {
        self
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.visit_float(&self.0);
    }

    /// Undoes what `unfreeze` does to parameters.
    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        Self(mapper.map_float(self.0).set_require_grad(false))
    }
}

impl ModuleDisplayDefault for FrozenAmax {
    fn content(&self, content: Content) -> Option<Content> {
        self.0.content(content)
    }
}

impl ModuleDisplay for FrozenAmax {}
