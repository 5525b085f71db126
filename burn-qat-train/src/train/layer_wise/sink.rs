use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Takes gradients part by part, and gives the module back, with other values of the parameters that they are of.
///
/// One that [measures](Self::is_measuring) sees all gradients before it takes the first.
pub trait GradientSink<M> {
    /// Takes the gradients of some parameters, all of each.
    fn take(&mut self, module: M, grads: GradientsParams) -> M;

    /// Whether gradients are looked at now, and taken later.
    fn is_measuring(&self) -> bool {
        false
    }

    /// Looks at the gradients of some parameters, all of each.
    fn measure(&mut self, _module: &M, _grads: &GradientsParams) {}

    /// Ends measuring, when all gradients were seen; says whether they are to be taken.
    fn measured(&mut self, _module: &M) -> bool {
        true
    }

    /// Measures or takes.
    fn hand(&mut self, module: M, grads: GradientsParams) -> M {
        if self.is_measuring() {
            self.measure(&module, &grads);
            return module;
        }
        self.take(module, grads)
    }
}

/// The path of what a visitor or mapper is in.
#[derive(Default)]
pub(super) struct ModulePath(Vec<String>);

impl ModulePath {
    pub fn enter(&mut self, name: &str) {
        self.0.push(name.into());
    }

    pub fn exit(&mut self) {
        self.0.pop();
    }

    pub fn text(&self) -> String {
        self.0.join(".")
    }
}

/// Calls a function for every parameter that there is a gradient of, in the order of the module.
pub(super) struct EachGradient<'a, F> {
    pub grads: &'a GradientsParams,
    pub path: ModulePath,
    pub call: F,
}

impl<F: FnMut(String, Tensor<1>)> ModuleVisitor for EachGradient<'_, F> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            let n = grad.shape().num_elements();
            (self.call)(self.path.text(), grad.reshape([n]));
        }
    }
}

/// What becomes of a parameter that there is a gradient of.
pub(super) trait Change {
    fn change<const D: usize>(
        &mut self,
        path: &str,
        weight: Tensor<D>,
        grad: Tensor<D>,
    ) -> Tensor<D>;
}

/// Changes the parameters that there is a gradient of, one after the other, each without a copy.
pub(super) struct EachParameter<'a, C> {
    pub grads: GradientsParams,
    pub path: ModulePath,
    pub change: &'a mut C,
}

impl<C: Change> ModuleMapper for EachParameter<'_, C> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(grad) = self.grads.remove::<D>(param.id) else {
            return param;
        };
        let (id, weight, mapper) = param.consume();
        let tracked = weight.is_require_grad();
        let changed = self
            .change
            .change(&self.path.text(), weight.without_autodiff(), grad);
        let changed = changed.autodiff().set_require_grad(tracked);
        Param::from_mapped_value(id, changed, mapper)
    }
}
