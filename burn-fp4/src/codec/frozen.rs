//! Magnitudes and global scales as parts of modules.

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
    Param, ParamId,
};
use burn::tensor::{Device, Tensor};

/// A recorded parameter that is never trained, whatever is done to the module around it.
#[derive(Clone, Debug)]
pub(crate) struct Frozen(Param<Tensor<1>>);

impl Frozen {
    pub fn new(value: Tensor<1>) -> Self {
        Self::with_id(ParamId::new(), value)
    }

    /// The same parameter with another value.
    pub fn with_value(&self, value: Tensor<1>) -> Self {
        Self::with_id(self.0.id, value)
    }

    fn with_id(id: ParamId, value: Tensor<1>) -> Self {
        let value = value.detach().set_require_grad(false);
        Self(Param::initialized(id, value))
    }

    pub fn val(&self) -> Tensor<1> {
        self.0.val()
    }
}

impl Module for Frozen {
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

impl ModuleDisplayDefault for Frozen {
    fn content(&self, content: Content) -> Option<Content> {
        self.0.content(content)
    }
}

impl ModuleDisplay for Frozen {}
