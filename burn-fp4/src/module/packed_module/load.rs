use std::collections::BTreeMap;

use burn::module::{Flag, ModuleMapper, Param};
use burn::tensor::{Bool, Int, Tensor};

use crate::error::Fp4Error;
use crate::module::packed_weight::PackedWeight;
use crate::module::path::Path;

/// Lets a mapper fill the packed tensors in place of the dense weights.
pub(super) struct Load<'a, M> {
    pub weights: &'a mut BTreeMap<String, PackedWeight>,
    pub mapper: &'a mut M,
    pub path: Path,
    /// The first one. Mappers cannot return errors, and a panic would end the process inside
    /// burn-store.
    pub error: Option<Fp4Error>,
}

impl<M: ModuleMapper> ModuleMapper for Load<'_, M> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name);
        self.mapper.enter_module(name, container_type);
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.path.exit();
        self.mapper.exit_module(name, container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.joined();
        let Some(weight) = self.weights.get_mut(&path) else {
            return self.mapper.map_float(param);
        };
        let shape = param.lazy_shape().to_vec();
        let (param, result) = weight.map(param, self.mapper);
        if let Err(source) = result {
            self.error.get_or_insert(Fp4Error::Weight {
                path,
                shape,
                source: Box::new(source),
            });
        }
        param
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        self.mapper.map_int(param)
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        self.mapper.map_bool(param)
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        self.mapper.map_flag(flag)
    }
}
