//! Whether a directory holds what its configuration calls for.

use std::collections::BTreeSet;
use std::path::PathBuf;

use safetensors::Dtype;

use super::CheckpointReader;
use super::form::StoredTensor;
use crate::error::GptOssError;

impl CheckpointReader {
    /// Every name, shape and element type that is not what the configuration calls for.
    pub(super) fn problems(&self) -> Vec<GptOssError> {
        let (mut problems, mut known) = (Vec::new(), BTreeSet::new());
        for spec in &self.specs {
            let stored = match self.stored(spec) {
                Ok(stored) => stored,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            for stored in stored {
                problems.extend(self.problem_of(&stored));
                known.insert(stored.name);
            }
        }
        let names = self.tensors.keys();
        let unknown: Vec<_> = names
            .filter(|name| !known.contains(*name))
            .cloned()
            .collect();
        if !unknown.is_empty() {
            problems.push(GptOssError::UnexpectedTensors {
                path: self.dir().to_path_buf(),
                tensors: unknown,
            });
        }
        problems
    }

    fn problem_of(&self, stored: &StoredTensor) -> Option<GptOssError> {
        let found = match self.find(&stored.name) {
            Ok(found) => found,
            Err(problem) => return Some(problem),
        };
        if !stored.has_shape(&found.shape, self.config().num_local_experts) {
            return Some(GptOssError::Shape {
                path: self.file_of(&stored.name),
                tensor: stored.name.clone(),
                expected: stored.shape.clone(),
                found: found.shape.clone(),
            });
        }
        check_dtype(stored, found.dtype, || self.file_of(&stored.name)).err()
    }
}

fn check_dtype(
    stored: &StoredTensor,
    found: Dtype,
    path: impl Fn() -> PathBuf,
) -> Result<(), GptOssError> {
    let readable = stored.readable();
    if readable.contains(&found) {
        return Ok(());
    }
    let names: Vec<String> = readable.iter().map(|dtype| format!("{dtype:?}")).collect();
    Err(GptOssError::Dtype {
        path: path(),
        tensor: stored.name.clone(),
        expected: names.join(" or "),
        found: format!("{found:?}"),
    })
}
