//! A model in training as a module: the parameters are those of the model.

use core::fmt;

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::store::ModuleRecord;
use burn::tensor::Device;
use burn_gpt_oss::GptOss;

use super::FineTune;
use crate::train::ending::trained_record;

/// Name of the model in module paths.
pub(in crate::train) const MODEL: &str = "model";
const CONTAINER: &str = "Struct:FineTune";

impl FineTune {
    fn with_model(self, change: impl FnOnce(GptOss) -> GptOss) -> Self {
        Self {
            model: change(self.model),
            ..self
        }
    }
}

impl Module for FineTune {
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

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        mapper.enter_module(MODEL, CONTAINER);
        let mapped = self.with_model(|model| model.map(mapper));
        mapper.exit_module(MODEL, CONTAINER);
        mapped
    }

    /// With adapters of the factors alone.
    fn into_record(self) -> ModuleRecord {
        let has_adapters = self.model.has_adapters();
        trained_record(self, has_adapters)
    }
}

impl ModuleDisplayDefault for FineTune {
    fn content(&self, content: Content) -> Option<Content> {
        self.model.content(content)
    }
}

impl ModuleDisplay for FineTune {}

impl fmt::Display for FineTune {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.model.fmt(f)
    }
}
