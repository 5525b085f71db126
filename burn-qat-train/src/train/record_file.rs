//! Records of modules as files, as Burn reads them, written with one tensor in memory at a time: Burn's own records are
//! whole before they are written.

use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use burn_pack::{Error, Writer};

/// Writes the parameters of a group, under another name first, synced.
pub(super) fn write_record<M: Module>(
    module: &M,
    group: ParamGroup,
    path: &Path,
) -> Result<(), Error> {
    let mut record = Record {
        group,
        path: Vec::new(),
        tensors: Vec::new(),
    };
    module.visit(&mut record);
    Writer::new(record.tensors).write_to_file(path)
}

struct Record {
    group: ParamGroup,
    path: Vec<String>,
    tensors: Vec<burn_pack::Tensor>,
}

impl Record {
    fn add(
        &mut self,
        id: ParamId,
        describe: impl FnOnce() -> (burn::tensor::DType, burn::tensor::Shape),
        data: impl Fn() -> TensorData + Send + Sync + 'static,
    ) {
        let path = self.path.join(".");
        if !self.group.matches(&id, Some(&path)) {
            return;
        }
        let (dtype, shape) = describe();
        let n_bytes = shape.num_elements() * dtype.size();
        let bytes = move || Ok(data().into_parts().0);
        let id = Some(id.val());
        self.tensors.push(burn_pack::Tensor::deferred(
            path, dtype, shape, id, n_bytes, bytes,
        ));
    }
}

impl ModuleVisitor for Record {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.transform_for_save().val();
        let describe = (value.dtype(), value.shape());
        // A copy that nobody shares, and which is therefore given away as it is: shared data is copied twice.
        self.add(
            param.id,
            || describe,
            move || (value.clone() * 1.0).into_data(),
        );
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        let value = param.transform_for_save().val();
        let describe = (value.dtype(), value.shape());
        self.add(param.id, || describe, move || value.clone().into_data());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        let value = param.transform_for_save().val();
        let describe = (value.dtype(), value.shape());
        self.add(param.id, || describe, move || value.clone().into_data());
    }
}
