//! From a module to its packed form.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor};

use super::PackedModule;
use super::packed_weight::PackedWeight;
use super::path::Path;
use super::selection::{Chosen, at_weight};
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::error::Fp4Error;
use crate::packed::{PackedFp4, host};
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalAmax;

/// Packs the chosen weights, with the quantizers they have, and gives them the packed values.
pub(super) fn pack<M: Module>(
    module: M,
    chosen: &BTreeMap<String, Chosen>,
    scheme: Fp4Scheme,
) -> Result<PackedModule<M>, Fp4Error> {
    let mut packing = Packing {
        chosen,
        scheme,
        path: Path::default(),
        weights: BTreeMap::new(),
        error: None,
    };
    module.visit(&mut packing);
    if let Some(error) = packing.error {
        return Err(error);
    }
    let weights = packing.weights;
    let trained = |weight: &Chosen| weight.reparameterization.is_some();
    let module = match chosen.values().any(trained) {
        true => module.materialize(),
        false => module,
    };
    let mut replacement = Replacement {
        chosen,
        weights: &weights,
        path: Path::default(),
        error: None,
    };
    let module = module.map(&mut replacement);
    match replacement.error {
        Some(error) => Err(error),
        None => Ok(PackedModule::new(module, weights)),
    }
}

/// Packs the weights behind the quantizers.
struct Packing<'a> {
    chosen: &'a BTreeMap<String, Chosen>,
    scheme: Fp4Scheme,
    path: Path,
    weights: BTreeMap<String, PackedWeight>,
    error: Option<Fp4Error>,
}

impl ModuleVisitor for Packing<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.joined();
        let Some(chosen) = self.chosen.get(&path).filter(|_| self.error.is_none()) else {
            return;
        };
        let amax = match &chosen.global_amax {
            Some(amax) => GlobalAmax::Frozen(amax.clone()),
            None => GlobalAmax::Dynamic,
        };
        let quantizer = SliceQuantizer::new(self.scheme).with_global_amax(amax);
        let packed = match &chosen.learned_scales {
            Some(parameter) => pack_learned(param.base(), parameter, &quantizer),
            None => host::pack(param.base(), D - 2, &quantizer),
        };
        match packed {
            Ok(packed) => {
                self.weights.insert(path, PackedWeight::new(packed));
            }
            Err(source) => self.error = Some(at_weight(&path, param, source)),
        }
    }
}

/// Packs a weight whose block scales are trained.
fn pack_learned<const D: usize>(
    weight: Tensor<D>,
    parameter: &[f32],
    quantizer: &SliceQuantizer,
) -> Result<PackedFp4, Fp4Error> {
    let shape = weight.dims();
    let values: Vec<f32> = host::read(weight.cast(DType::F32).try_into_data())?;
    quantizer.quantize_learned(&values, parameter, &shape, D - 2)
}

/// Gives weights the values of their packed form.
struct Replacement<'a> {
    chosen: &'a BTreeMap<String, Chosen>,
    weights: &'a BTreeMap<String, PackedWeight>,
    path: Path,
    error: Option<Fp4Error>,
}

impl Replacement<'_> {
    fn replace<const D: usize>(
        &self,
        path: &str,
        param: &Param<Tensor<D>>,
        weight: &PackedWeight,
    ) -> Result<Param<Tensor<D>>, Fp4Error> {
        let dense = weight.dense(param.clone());
        let dense = dense.map_err(|source| at_weight(path, param, source))?;
        let trained = self.chosen[path].reparameterization.is_some();
        if trained && !same_values(param.base(), dense.base())? {
            return Err(Fp4Error::OtherQuantizer { path: path.into() });
        }
        Ok(dense)
    }
}

/// Whether two tensors hold the same numbers; in `f32`, which holds `bf16` and `f16` exactly.
fn same_values<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Result<bool, Fp4Error> {
    let same = a.cast(DType::F32).equal(b.cast(DType::F32)).all();
    let same = same.try_into_vec_as::<bool>();
    let same = same.map_err(|error| Fp4Error::Device {
        message: format!("{error:?}"),
    })?;
    Ok(same == [true])
}

impl ModuleMapper for Replacement<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.joined();
        let Some(weight) = self.weights.get(&path).filter(|_| self.error.is_none()) else {
            return param;
        };
        match self.replace(&path, &param, weight) {
            Ok(param) => param,
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}
