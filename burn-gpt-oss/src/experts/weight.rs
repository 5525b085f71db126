use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
    Param, ParamId, Reparameterization,
};
use burn::tensor::{Device, FloatDType, Tensor};
use burn_fp4::{Fp4Scheme, Fp4Tensor, LowRankAdapter, Operand, Rounded, WeightQuantizer};

/// The matrices of all experts of a block, in either of two forms.
///
/// The enum adds no name to the module path: the dense parameter is `experts.down_proj`, and the packed
/// form has `experts.down_proj.codes` and its other tensors. Policies, reparameterizations and records
/// therefore fit every dense model. The factors of an adapter are `experts.down_proj.lora.a` and `.lora.b` in
/// both forms.
#[derive(Clone, Debug)]
pub enum ExpertWeight {
    /// `[experts, in, out]`, which trains, or is frozen if it has an adapter.
    Dense(Param<Tensor<3>>),
    /// FP4 of logical shape `[experts, out, in]`, frozen, and its adapter.
    Packed(Fp4Tensor<3>, Option<Box<LowRankAdapter<3>>>),
}

impl ExpertWeight {
    /// The values that multiply, reparameterizations applied; the packed form is decoded to `f32`, as
    /// a whole.
    ///
    /// # Shapes
    /// - output: `[experts, in, out]`
    pub fn val(&self) -> Tensor<3> {
        match self.matrices() {
            Operand::Dense(weight) => weight,
            Operand::Packed(weight) => weight.dequantize(1, FloatDType::F32),
            Operand::Adapted(weight) => weight.val(),
            Operand::Rounded(weight) => weight.codes().dequantize(1, FloatDType::F32),
        }
    }

    /// `[experts, in, out]`
    pub fn shape(&self) -> [usize; 3] {
        match self {
            Self::Dense(weight) => weight.lazy_shape().dims(),
            Self::Packed(weight, _) => {
                let [experts, d_output, d_input] = weight.shape();
                [experts, d_input, d_output]
            }
        }
    }

    /// The parameter of the dense form.
    pub fn dense(&self) -> Option<&Param<Tensor<3>>> {
        match self {
            Self::Dense(weight) => Some(weight),
            Self::Packed(..) => None,
        }
    }

    /// The parameter of the dense form, to replace it.
    pub fn dense_mut(&mut self) -> Option<&mut Param<Tensor<3>>> {
        match self {
            Self::Dense(weight) => Some(weight),
            Self::Packed(..) => None,
        }
    }

    /// The packed form, without an adapter that it may have.
    pub fn packed(&self) -> Option<&Fp4Tensor<3>> {
        match self {
            Self::Dense(_) => None,
            Self::Packed(weight, _) => Some(weight),
        }
    }

    /// The codes that multiply, of the packed form or of a sum that is rounded; none of floats.
    pub fn codes(&self) -> Option<Fp4Tensor<3>> {
        match self.matrices() {
            Operand::Dense(_) => None,
            Operand::Packed(weight) => Some(weight),
            Operand::Adapted(weight) => weight.merge(),
            Operand::Rounded(weight) => Some(weight.codes().clone()),
        }
    }

    /// The scheme of the packed form.
    pub fn scheme(&self) -> Option<Fp4Scheme> {
        self.packed().map(Fp4Tensor::scheme)
    }

    /// The adapter, in either form.
    pub fn adapter(&self) -> Option<&LowRankAdapter<3>> {
        match self {
            Self::Dense(weight) => weight.reparameterization(),
            Self::Packed(_, adapter) => adapter.as_deref(),
        }
    }

    /// The same matrices, frozen, with an adapter in place of what they have.
    pub fn with_adapter(self, adapter: LowRankAdapter<3>) -> Self {
        match self {
            Self::Dense(weight) => Self::Dense(adapter.attach(weight)),
            Self::Packed(weight, _) => Self::Packed(weight, Some(Box::new(adapter))),
        }
    }

    /// The same matrices, without an adapter that they may have.
    pub fn without_adapter(self) -> Self {
        match (self.adapter().is_some(), self) {
            (true, Self::Dense(weight)) => {
                Self::Dense(Param::initialized(weight.id, weight.base()))
            }
            (_, Self::Packed(weight, _)) => weight.into(),
            (false, weight) => weight,
        }
    }

    /// The values that multiply, in their own form; reparameterizations applied.
    pub fn matrices(&self) -> Operand<3> {
        match (self, self.adapter()) {
            (Self::Dense(weight), None) => Operand::Dense(weight.val()),
            (Self::Dense(weight), Some(adapter)) => adapter.adapted(weight.base()).into(),
            (Self::Packed(weight, _), None) => Operand::Packed(weight.clone()),
            (Self::Packed(weight, _), Some(adapter)) => adapter.adapted(weight.clone()).into(),
        }
    }

    /// [`matrices`](Self::matrices) without a float copy of those that a quantizer rounds: rows are multiplied with
    /// their codes.
    pub fn rounded_matrices(&self) -> Operand<3> {
        let rounded = self.dense().and_then(|weight| {
            let quantizer = weight.reparameterization::<WeightQuantizer>()?;
            let codes = quantizer.codes(weight.base())?;
            Some(Rounded::new(weight.base(), codes))
        });
        rounded.map_or_else(|| self.matrices(), Operand::from)
    }
}

impl From<Param<Tensor<3>>> for ExpertWeight {
    fn from(weight: Param<Tensor<3>>) -> Self {
        Self::Dense(weight)
    }
}

impl From<Fp4Tensor<3>> for ExpertWeight {
    fn from(weight: Fp4Tensor<3>) -> Self {
        Self::Packed(weight, None)
    }
}

/// As Burn enters the reparameterization of a parameter.
const REPARAMETERIZATION: &str = "Reparameterization";

type Adapter = LowRankAdapter<3>;

// Not derived: that would put the names of the variants into module paths.
impl Module for ExpertWeight {
    fn collect_devices(&self, devices: Devices) -> Devices {
        match self {
            Self::Dense(weight) => weight.collect_devices(devices),
            Self::Packed(weight, adapter) => {
                let devices = weight.collect_devices(devices);
                match adapter {
                    Some(adapter) => adapter.collect_devices(devices),
                    None => devices,
                }
            }
        }
    }

    fn fork(self, device: &Device) -> Self {
        match self {
            Self::Dense(weight) => weight.fork(device).into(),
            Self::Packed(weight, adapter) => Self::Packed(
                weight.fork(device),
                adapter.map(|adapter| Box::new((*adapter).fork(device))),
            ),
        }
    }

    fn to_device(self, device: &Device) -> Self {
        match self {
            Self::Dense(weight) => weight.to_device(device).into(),
            Self::Packed(weight, adapter) => Self::Packed(
                weight.to_device(device),
                adapter.map(|adapter| Box::new((*adapter).to_device(device))),
            ),
        }
    }

    fn train(self) -> Self {
        match self {
            Self::Dense(weight) => weight.train().into(),
            Self::Packed(weight, adapter) => Self::Packed(
                weight.train(),
                adapter.map(|adapter| Box::new((*adapter).train())),
            ),
        }
    }

    fn valid(&self) -> Self {
        match self {
            Self::Dense(weight) => weight.valid().into(),
            Self::Packed(weight, adapter) => Self::Packed(
                weight.valid(),
                adapter.as_deref().map(|adapter| Box::new(adapter.valid())),
            ),
        }
    }

    fn materialize(self) -> Self {
        match self {
            Self::Dense(weight) => weight.materialize().into(),
            Self::Packed(weight, None) => weight.materialize().into(),
            Self::Packed(weight, Some(adapter)) => {
                let adapted = adapter.adapted(weight);
                match adapted.merge() {
                    Some(merged) => merged.into(),
                    // As frozen as it was.
                    None => {
                        let sum = adapted.val().detach().set_require_grad(false);
                        Param::initialized(ParamId::new(), sum).into()
                    }
                }
            }
        }
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        match self {
            Self::Dense(weight) => weight.visit(visitor),
            Self::Packed(weight, adapter) => {
                weight.visit(visitor);
                if let Some(adapter) = adapter {
                    visitor.enter_module(Adapter::NAME, REPARAMETERIZATION);
                    adapter.visit(visitor);
                    visitor.exit_module(Adapter::NAME, REPARAMETERIZATION);
                }
            }
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        match self {
            Self::Dense(weight) => Module::map(weight, mapper).into(),
            Self::Packed(weight, adapter) => {
                let weight = weight.map(mapper);
                let adapter = adapter.map(|adapter| {
                    mapper.enter_module(Adapter::NAME, REPARAMETERIZATION);
                    let adapter = Box::new((*adapter).map(mapper));
                    mapper.exit_module(Adapter::NAME, REPARAMETERIZATION);
                    adapter
                });
                Self::Packed(weight, adapter)
            }
        }
    }
}

impl ModuleDisplayDefault for ExpertWeight {
    fn content(&self, content: Content) -> Option<Content> {
        match self {
            Self::Dense(weight) => weight.content(content),
            Self::Packed(weight, _) => weight.content(content),
        }
    }
}

impl ModuleDisplay for ExpertWeight {}
