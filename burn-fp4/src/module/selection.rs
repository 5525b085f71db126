//! Which weights of a module are chosen, and whether they can be quantized.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, Reparameterization};
use burn::tensor::Tensor;

use super::WeightQuantizer;
use super::path::{Path, REPARAMETERIZATION};
use super::weight_quantizer::LEARNED_SCALES;
use crate::codec::block_axis::BlockAxis;
use crate::error::Fp4Error;
use crate::packed::host;
use crate::scheme::Fp4Scheme;

/// What is known of a chosen weight before it is quantized.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// Name of the reparameterization it has.
    pub reparameterization: Option<String>,
    /// What its quantizer keeps.
    pub global_amax: Option<Vec<f32>>,
    /// The parameters of its block scales, where these are trained.
    pub learned_scales: Option<Vec<f32>>,
}

/// Lists the weights of a group by path.
///
/// Fails at the first that does not fit the scheme, and if there is none.
pub(super) fn select<M: Module>(
    module: &M,
    group: &ParamGroup,
    scheme: Fp4Scheme,
) -> Result<BTreeMap<String, Chosen>, Fp4Error> {
    let mut selection = Selection {
        group,
        scheme,
        path: Path::default(),
        within: None,
        chosen: BTreeMap::new(),
        error: None,
    };
    module.visit(&mut selection);
    match selection.error {
        Some(error) => Err(error),
        None if selection.chosen.is_empty() => Err(Fp4Error::NoWeights),
        None => Ok(selection.chosen),
    }
}

/// Says of which weight an error is.
pub(super) fn at_weight<const D: usize>(
    path: &str,
    param: &Param<Tensor<D>>,
    source: Fp4Error,
) -> Fp4Error {
    Fp4Error::Weight {
        path: path.into(),
        shape: param.base().dims().to_vec(),
        source: Box::new(source),
    }
}

struct Selection<'a> {
    group: &'a ParamGroup,
    scheme: Fp4Scheme,
    path: Path,
    /// Path of the parameter whose reparameterization the walk is inside of.
    within: Option<String>,
    chosen: BTreeMap<String, Chosen>,
    error: Option<Fp4Error>,
}

impl Selection<'_> {
    fn check<const D: usize>(&self, weight: &Tensor<D>) -> Result<(), Fp4Error> {
        host::check_dtype(weight.dtype())?;
        BlockAxis::new(&weight.dims(), D - 2, &self.scheme).map(|_| ())
    }

    /// What the quantizer of a chosen weight holds.
    fn read_held<const D: usize>(&mut self, weight: &str, param: &Param<Tensor<D>>) {
        let is_learned = self.path.joined().ends_with(LEARNED_SCALES);
        let Some(chosen) = self.chosen.get_mut(weight) else {
            return;
        };
        if chosen.reparameterization.as_deref() != Some(WeightQuantizer::NAME) {
            return;
        }
        match param.val().try_into_vec_as::<f32>() {
            Ok(parameter) if is_learned => chosen.learned_scales = Some(parameter),
            Ok(amax) => chosen.global_amax = Some(amax),
            Err(error) => {
                let message = format!("{error:?}");
                self.error.get_or_insert(Fp4Error::Device { message });
            }
        }
    }
}

impl ModuleVisitor for Selection<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        if container_type == REPARAMETERIZATION && self.within.is_none() {
            let weight = self.path.joined();
            if let Some(chosen) = self.chosen.get_mut(&weight) {
                chosen.reparameterization = Some(name.to_string());
            }
            self.within = Some(weight);
        }
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
        if self.within.as_ref() == Some(&self.path.joined()) {
            self.within = None;
        }
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(weight) = self.within.clone() {
            return self.read_held(&weight, param);
        }
        let path = self.path.joined();
        if D < 2 || !self.group.matches(&param.id, Some(&path)) {
            return;
        }
        // Until it is initialized, the shape of a weight that is saved transposed is the saved one.
        let weight = param.base();
        if let Err(source) = self.check(&weight) {
            let error = at_weight(&path, param, source);
            self.error.get_or_insert(error);
        }
        self.chosen.insert(path, Chosen::default());
    }
}
