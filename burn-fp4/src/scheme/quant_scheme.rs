//! Between [`Fp4Scheme`] and Burn's own description of quantized tensors.
//!
//! Only the format translates: how scales are chosen and what a global scale covers are no part of
//! Burn's scheme. Burn itself rounds every block scale up, so what it quantizes on a device is not
//! what this crate gives for the same scheme, apart from MXFP4 with [`ScaleRule::Ceil`].

use burn::tensor::quantization::{
    BlockScale, BlockSize, QuantMode, QuantScheme, QuantStore, QuantValue, ScaleDtype,
};

use crate::error::Fp4Error;
use crate::scheme::global_scale::GlobalScope;
use crate::scheme::scale_rule::{Nvfp4ScaleRule, ScaleRule};
use crate::scheme::{Fp4Scheme, Nvfp4BlockSize};

impl From<Fp4Scheme> for QuantScheme {
    /// The format in words of eight codes, the only store that Burn's kernels can write.
    ///
    /// The scale rule and the scope of the global scale are lost.
    fn from(scheme: Fp4Scheme) -> Self {
        let e2m1 = Self::default()
            .with_value(QuantValue::E2M1)
            .with_store(QuantStore::PackedU32(0));
        match scheme {
            Fp4Scheme::Mxfp4 { .. } => e2m1.per_block([32], ScaleDtype::UE8M0),
            Fp4Scheme::Nvfp4 { block_size, .. } => {
                let block = match block_size {
                    Nvfp4BlockSize::Sixteen => 16,
                    Nvfp4BlockSize::ThirtyTwo => 32,
                };
                e2m1.per_block([block], ScaleDtype::UE4M3)
                    .per_tensor(ScaleDtype::F32)
            }
        }
    }
}

impl TryFrom<QuantScheme> for Fp4Scheme {
    type Error = Fp4Error;

    /// The format of a Burn scheme, packed along the innermost axis in either store.
    ///
    /// What Burn's scheme does not say is filled in: [`ScaleRule::Ceil`] for MXFP4, which is Burn's
    /// rule, too; [`Nvfp4ScaleRule::Nearest`] for NVFP4, where Burn rounds up; one global scale per
    /// tensor.
    fn try_from(scheme: QuantScheme) -> Result<Self, Fp4Error> {
        check_values(&scheme)?;
        let Some(BlockScale { size, dtype }) = scheme.block_scale() else {
            return Err(misfit("levels", "one scale per block", "none".into()));
        };
        match (dtype, scheme.tensor_scale()) {
            (ScaleDtype::UE8M0, None) => match block_size(size)? {
                32 => Ok(Self::Mxfp4 {
                    scale_rule: ScaleRule::Ceil,
                }),
                found => Err(misfit("block size", "32 for MXFP4", found.to_string())),
            },
            (ScaleDtype::UE4M3, Some(ScaleDtype::F32)) => Ok(Self::Nvfp4 {
                scale_rule: Nvfp4ScaleRule::Nearest,
                block_size: Nvfp4BlockSize::try_from(block_size(size)?)?,
                global_scope: GlobalScope::Tensor,
            }),
            (block, tensor) => Err(misfit(
                "scales",
                "UE8M0 per block alone (MXFP4), or UE4M3 per block with F32 per tensor (NVFP4)",
                format!("{block:?} per block with {tensor:?} per tensor"),
            )),
        }
    }
}

/// E2M1, symmetric, two or eight codes packed along the innermost axis.
fn check_values(scheme: &QuantScheme) -> Result<(), Fp4Error> {
    if scheme.value != QuantValue::E2M1 {
        return Err(misfit("value", "E2M1", format!("{:?}", scheme.value)));
    }
    if scheme.mode != QuantMode::Symmetric {
        return Err(misfit("mode", "Symmetric", format!("{:?}", scheme.mode)));
    }
    match scheme.store {
        QuantStore::PackedU32(0) | QuantStore::PackedNative(0) => Ok(()),
        other => {
            let expected = "PackedU32(0) or PackedNative(0)";
            Err(misfit("store", expected, format!("{other:?}")))
        }
    }
}

/// Length of a block that runs along the innermost axis.
fn block_size(size: BlockSize) -> Result<usize, Fp4Error> {
    match *size.as_slice() {
        [len] => Ok(len.into()),
        _ => Err(misfit(
            "block size",
            "one dimension, the innermost",
            format!("{:?}", size.as_slice()),
        )),
    }
}

fn misfit(what: &'static str, expected: &'static str, found: String) -> Fp4Error {
    Fp4Error::QuantScheme {
        what,
        expected,
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_at_fault(scheme: QuantScheme) -> &'static str {
        match Fp4Scheme::try_from(scheme) {
            Err(Fp4Error::QuantScheme { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn formats_survive_the_way_there_and_back() {
        for scheme in [
            Fp4Scheme::mxfp4(),
            Fp4Scheme::nvfp4(),
            Fp4Scheme::nvfp4_block32(),
        ] {
            assert_eq!(Fp4Scheme::try_from(QuantScheme::from(scheme)), Ok(scheme));
        }
        let lost = Fp4Scheme::mxfp4_with(ScaleRule::Even);
        let back = Fp4Scheme::try_from(QuantScheme::from(lost));
        assert_eq!(back, Ok(Fp4Scheme::mxfp4()));
    }

    #[test]
    fn burns_own_schemes_are_understood() {
        let nvfp4 = Fp4Scheme::try_from(QuantScheme::nvfp4());
        assert_eq!(nvfp4, Ok(Fp4Scheme::nvfp4()));
        let packed = QuantScheme::nvfp4().with_store(QuantStore::PackedU32(0));
        assert_eq!(QuantScheme::from(Fp4Scheme::nvfp4()), packed);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let mxfp4 = QuantScheme::from(Fp4Scheme::mxfp4());
        let nvfp4 = QuantScheme::from(Fp4Scheme::nvfp4());
        assert_eq!(field_at_fault(mxfp4.with_value(QuantValue::Q4F)), "value");
        assert_eq!(field_at_fault(mxfp4.with_mode(QuantMode::Lookup)), "mode");
        for store in [QuantStore::Native, QuantStore::PackedU32(1)] {
            assert_eq!(field_at_fault(mxfp4.with_store(store)), "store");
        }
        let e2m1 = QuantScheme::default().with_value(QuantValue::E2M1);
        assert_eq!(field_at_fault(e2m1), "levels");
        for scheme in [
            mxfp4.per_tensor(ScaleDtype::F32),
            nvfp4.per_tensor(ScaleDtype::F16),
            e2m1.per_block([16], ScaleDtype::UE4M3),
            e2m1.per_block([32], ScaleDtype::F32),
        ] {
            assert_eq!(field_at_fault(scheme), "scales");
        }
        for size in [[1, 16], [2, 32]] {
            let scheme = mxfp4.per_block(size, ScaleDtype::UE8M0);
            assert_eq!(field_at_fault(scheme), "block size");
        }
        let wide = nvfp4.per_block([64], ScaleDtype::UE4M3);
        let error = Fp4Scheme::try_from(wide).unwrap_err();
        assert_eq!(error, Fp4Error::Nvfp4BlockSize { found: 64 });
    }
}
