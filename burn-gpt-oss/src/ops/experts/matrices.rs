use burn::backend::Dispatch;
use burn::tensor::Tensor;
use burn_fp4::Fp4Tensor;

use super::{ExpertPrimitive, ExpertRouting};

/// One matrix per expert, in either of two forms.
#[derive(Clone, Debug)]
pub enum ExpertMatrices {
    /// `[experts, in, out]`
    Dense(Tensor<3>),
    /// FP4 of logical shape `[experts, out, in]`.
    Packed(Fp4Tensor<3>),
}

impl ExpertMatrices {
    /// `[experts, in, out]`
    pub fn shape(&self) -> [usize; 3] {
        match self {
            Self::Dense(weight) => weight.dims(),
            Self::Packed(weight) => {
                let [experts, d_output, d_input] = weight.shape();
                [experts, d_input, d_output]
            }
        }
    }

    pub(super) fn primitive(self) -> ExpertPrimitive<Dispatch> {
        match self {
            Self::Dense(weight) => ExpertPrimitive::Dense(weight.into_dispatch()),
            Self::Packed(weight) => ExpertPrimitive::Packed(weight.primitive(), weight.scheme()),
        }
    }

    pub(super) fn check(&self, rows: &Tensor<2>, bias: &Tensor<2>, routing: &ExpertRouting) {
        let [experts, d_input, d_output] = self.shape();
        assert_eq!(rows.dims()[1], d_input, "width of the rows");
        assert_eq!(bias.dims(), [experts, d_output], "shape of the bias");
        assert_eq!(routing.n_experts(), experts, "a routing to other experts");
        assert_eq!(bias.dtype(), rows.dtype(), "dtype of the bias");
        if let Self::Dense(weight) = self {
            assert_eq!(weight.dtype(), rows.dtype(), "dtype of the matrices");
        }
    }
}

impl From<Tensor<3>> for ExpertMatrices {
    fn from(weight: Tensor<3>) -> Self {
        Self::Dense(weight)
    }
}

impl From<Fp4Tensor<3>> for ExpertMatrices {
    fn from(weight: Fp4Tensor<3>) -> Self {
        Self::Packed(weight)
    }
}
