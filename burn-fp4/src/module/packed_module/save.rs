use std::collections::BTreeMap;

use burn::module::{Flag, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, Int, Tensor};

use crate::module::packed_weight::PackedWeight;
use crate::module::path::Path;

/// Shows a visitor the packed tensors in place of the dense weights.
pub(super) struct Save<'a, V> {
    pub weights: &'a BTreeMap<String, PackedWeight>,
    pub visitor: &'a mut V,
    pub path: Path,
}

impl<V: ModuleVisitor> ModuleVisitor for Save<'_, V> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name);
        self.visitor.enter_module(name, container_type);
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.path.exit();
        self.visitor.exit_module(name, container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        match self.weights.get(&self.path.joined()) {
            Some(weight) => weight.visit(param, self.visitor),
            None => self.visitor.visit_float(param),
        }
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.visitor.visit_int(param);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.visitor.visit_bool(param);
    }

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        self.visitor.visit_flag(flag);
    }

    fn visit_float_with_path<const D: usize>(
        &mut self,
        path: &[String],
        id: ParamId,
        tensor: &Tensor<D>,
    ) {
        self.visitor.visit_float_with_path(path, id, tensor);
    }

    fn visit_int_with_path<const D: usize>(
        &mut self,
        path: &[String],
        id: ParamId,
        tensor: &Tensor<D, Int>,
    ) {
        self.visitor.visit_int_with_path(path, id, tensor);
    }

    fn visit_bool_with_path<const D: usize>(
        &mut self,
        path: &[String],
        id: ParamId,
        tensor: &Tensor<D, Bool>,
    ) {
        self.visitor.visit_bool_with_path(path, id, tensor);
    }
}
