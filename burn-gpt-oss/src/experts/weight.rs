use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
    Param,
};
use burn::tensor::{Device, FloatDType, Tensor};
use burn_fp4::{Fp4Scheme, Fp4Tensor, Operand};

/// The matrices of all experts of a block, in either of two forms.
///
/// The enum adds no name to the module path: the dense parameter is `experts.down_proj`, and the packed
/// form has `experts.down_proj.codes` and its other tensors. Policies, reparameterizations and records
/// therefore fit every dense model.
#[derive(Clone, Debug)]
pub enum ExpertWeight {
    /// `[experts, in, out]`, which trains.
    Dense(Param<Tensor<3>>),
    /// FP4 of logical shape `[experts, out, in]`, frozen.
    Packed(Fp4Tensor<3>),
}

impl ExpertWeight {
    /// The values that multiply, reparameterizations applied; the packed form is decoded to `f32`, as
    /// a whole.
    ///
    /// # Shapes
    /// - output: `[experts, in, out]`
    pub fn val(&self) -> Tensor<3> {
        match self {
            Self::Dense(weight) => weight.val(),
            Self::Packed(weight) => weight.dequantize(1, FloatDType::F32),
        }
    }

    /// `[experts, in, out]`
    pub fn shape(&self) -> [usize; 3] {
        match self {
            Self::Dense(weight) => weight.lazy_shape().dims(),
            Self::Packed(weight) => {
                let [experts, d_output, d_input] = weight.shape();
                [experts, d_input, d_output]
            }
        }
    }

    /// The parameter of the dense form.
    pub fn dense(&self) -> Option<&Param<Tensor<3>>> {
        match self {
            Self::Dense(weight) => Some(weight),
            Self::Packed(_) => None,
        }
    }

    /// The parameter of the dense form, to replace it.
    pub fn dense_mut(&mut self) -> Option<&mut Param<Tensor<3>>> {
        match self {
            Self::Dense(weight) => Some(weight),
            Self::Packed(_) => None,
        }
    }

    /// The packed form.
    pub fn packed(&self) -> Option<&Fp4Tensor<3>> {
        match self {
            Self::Dense(_) => None,
            Self::Packed(weight) => Some(weight),
        }
    }

    /// The scheme of the packed form.
    pub fn scheme(&self) -> Option<Fp4Scheme> {
        self.packed().map(Fp4Tensor::scheme)
    }

    /// The values that multiply, in their own form; reparameterizations applied.
    pub fn matrices(&self) -> Operand<3> {
        match self {
            Self::Dense(weight) => Operand::Dense(weight.val()),
            Self::Packed(weight) => Operand::Packed(weight.clone()),
        }
    }
}

impl From<Param<Tensor<3>>> for ExpertWeight {
    fn from(weight: Param<Tensor<3>>) -> Self {
        Self::Dense(weight)
    }
}

impl From<Fp4Tensor<3>> for ExpertWeight {
    fn from(weight: Fp4Tensor<3>) -> Self {
        Self::Packed(weight)
    }
}

// Not derived: that would put the names of the variants into module paths.
impl Module for ExpertWeight {
    fn collect_devices(&self, devices: Devices) -> Devices {
        match self {
            Self::Dense(weight) => weight.collect_devices(devices),
            Self::Packed(weight) => weight.collect_devices(devices),
        }
    }

    fn fork(self, device: &Device) -> Self {
        match self {
            Self::Dense(weight) => weight.fork(device).into(),
            Self::Packed(weight) => weight.fork(device).into(),
        }
    }

    fn to_device(self, device: &Device) -> Self {
        match self {
            Self::Dense(weight) => weight.to_device(device).into(),
            Self::Packed(weight) => weight.to_device(device).into(),
        }
    }

    fn train(self) -> Self {
        match self {
            Self::Dense(weight) => weight.train().into(),
            Self::Packed(weight) => weight.train().into(),
        }
    }

    fn valid(&self) -> Self {
        match self {
            Self::Dense(weight) => weight.valid().into(),
            Self::Packed(weight) => weight.valid().into(),
        }
    }

    fn materialize(self) -> Self {
        match self {
            Self::Dense(weight) => weight.materialize().into(),
            Self::Packed(weight) => weight.materialize().into(),
        }
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        match self {
            Self::Dense(weight) => weight.visit(visitor),
            Self::Packed(weight) => weight.visit(visitor),
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        match self {
            Self::Dense(weight) => Module::map(weight, mapper).into(),
            Self::Packed(weight) => weight.map(mapper).into(),
        }
    }
}

impl ModuleDisplayDefault for ExpertWeight {
    fn content(&self, content: Content) -> Option<Content> {
        match self {
            Self::Dense(weight) => weight.content(content),
            Self::Packed(weight) => weight.content(content),
        }
    }
}

impl ModuleDisplay for ExpertWeight {}
