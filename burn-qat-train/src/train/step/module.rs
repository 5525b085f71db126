//! A model in training as a module: the parameters are those of the model.

use core::fmt;

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::store::ModuleRecord;
use burn::tensor::Device;

use super::FineTune;
use crate::train::Trainable;
use crate::train::ending::recorded;

/// Name of the model in module paths.
pub(in crate::train) const MODEL: &str = "model";
const CONTAINER: &str = "Struct:FineTune";

impl<M: Trainable> FineTune<M> {
    fn with_model(self, change: impl FnOnce(M) -> M) -> Self {
        Self {
            model: change(self.model),
            ..self
        }
    }
}

impl<M: Trainable> Module for FineTune<M> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.model.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        self.with_model(|model| model.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.with_model(|model| model.to_device(device))
    }

    fn train(self) -> Self {
        self.with_model(Module::train)
    }

    fn valid(&self) -> Self {
        Self {
            model: self.model.valid(),
            ..self.clone()
        }
    }

    fn materialize(self) -> Self {
        self.with_model(Module::materialize)
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.enter_module(MODEL, CONTAINER);
        self.model.visit(visitor);
        visitor.exit_module(MODEL, CONTAINER);
    }

    fn map<Mapper: ModuleMapper>(self, mapper: &mut Mapper) -> Self {
        mapper.enter_module(MODEL, CONTAINER);
        let mapped = self.with_model(|model| model.map(mapper));
        mapper.exit_module(MODEL, CONTAINER);
        mapped
    }

    /// With adapters of the factors alone.
    fn into_record(self) -> ModuleRecord {
        let recorded = recorded(&self.model);
        self.into_record_group(recorded)
    }
}

impl<M: Trainable> ModuleDisplayDefault for FineTune<M> {
    fn content(&self, content: Content) -> Option<Content> {
        Some(content)
    }
}

impl<M: Trainable> ModuleDisplay for FineTune<M> {}

/// Burn's learner asks for it, and shows it to no one here.
impl<M: Trainable> fmt::Display for FineTune<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} parameters in training", Module::num_params(self))
    }
}
