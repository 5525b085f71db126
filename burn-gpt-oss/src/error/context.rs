//! What errors of others are about.

use std::path::PathBuf;

use burn_fp4::Fp4Error;

use super::GptOssError;

impl GptOssError {
    /// Says which tensor an error of the codec is about.
    pub(crate) fn fp4(tensor: impl Into<String>) -> impl FnOnce(Fp4Error) -> Self {
        let tensor = tensor.into();
        move |source| Self::Fp4 {
            tensor,
            source: Box::new(source),
        }
    }

    /// Wraps an error of the operating system together with its path.
    pub(crate) fn io(
        path: impl Into<PathBuf>,
        action: &'static str,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            path,
            action,
            source,
        }
    }
}
