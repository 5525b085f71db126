use std::path::Path;

use crate::error::QatError;
use crate::memory::gigabytes;

/// Fails if a run is going to write more than the file system of a directory has free. Failing hours
/// later, when the results are written, would cost the run.
///
/// The directory need not exist yet. A system that does not tell its free space passes.
///
/// # Errors
/// [`QatError::Disk`] with both figures.
pub fn check_disk(dir: &Path, needed: u64) -> Result<(), QatError> {
    let Some(existing) = dir.ancestors().find(|path| path.exists()) else {
        return check(dir, needed, fs4::available_space(Path::new(".")).ok());
    };
    // The last ancestor of a relative path is empty.
    let existing = match existing.as_os_str().is_empty() {
        true => Path::new("."),
        false => existing,
    };
    check(dir, needed, fs4::available_space(existing).ok())
}

fn check(dir: &Path, needed: u64, available: Option<u64>) -> Result<(), QatError> {
    match available {
        Some(available) if available < needed => Err(QatError::Disk {
            path: dir.to_path_buf(),
            needed: gigabytes(needed),
            available: gigabytes(available),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_both_figures() {
        let dir = Path::new("runs/week");
        let error = check(dir, 50_000_000_000, Some(20_000_000_000)).expect_err("too little");
        let error = error.to_string();
        for part in ["runs/week", "50.0 GB", "20.0 GB"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(check(dir, 20, Some(20)).is_ok() && check(dir, 20, None).is_ok());
    }

    #[test]
    fn directories_that_are_yet_to_come_count() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let deep = dir.path().join("a/b/c");
        assert!(check_disk(&deep, 1).is_ok());
        assert!(check_disk(&deep, u64::MAX).is_err());
        assert!(check_disk(Path::new("not/here"), u64::MAX).is_err());
    }
}
