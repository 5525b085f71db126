use std::path::{Path, PathBuf};

use crate::error::QatError;

/// How files of rows end; a directory may hold others, which are left alone.
const ENDINGS: [&str; 5] = [".jsonl", ".ndjson", ".json", ".parquet", ".txt"];

/// What compressed files end with, behind the ending of what they hold.
const COMPRESSED: [&str; 2] = [".gz", ".zst"];

/// The files that a path means: itself, those in a directory and below it, or those that a pattern with
/// `*`, `?` or `[...]` matches; in the order of their names.
///
/// # Errors
/// A path that does not exist, a directory without a dataset, and a pattern that is none or matches nothing.
pub fn dataset_files(path: impl AsRef<Path>) -> Result<Vec<PathBuf>, QatError> {
    let path = path.as_ref();
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let refuse = |message: String| {
        Err(QatError::Dataset {
            path: path.to_owned(),
            message,
        })
    };
    let mut files = Vec::new();
    if path.is_dir() {
        collect(path, &mut files)?;
        if files.is_empty() {
            return refuse(format!(
                "the directory has no file that ends with {}",
                ENDINGS.join(", ")
            ));
        }
    } else if path.to_string_lossy().contains(['*', '?', '[']) {
        let pattern = glob::glob(&path.to_string_lossy());
        let found = match pattern {
            Ok(found) => found,
            Err(error) => return refuse(format!("not a pattern of files: {error}")),
        };
        for entry in found {
            let entry = entry.map_err(|error| {
                let path = error.path().to_owned();
                QatError::io(path, "read")(error.into())
            })?;
            match entry.is_dir() {
                true => collect(&entry, &mut files)?,
                false => files.push(entry),
            }
        }
        if files.is_empty() {
            return refuse("no file matches the pattern".into());
        }
    } else {
        // The error that opening it would give, with its reason.
        std::fs::metadata(path).map_err(QatError::io(path, "open"))?;
        files.push(path.to_owned());
    }
    files.sort();
    // A pattern may match a directory and what is in it.
    files.dedup();
    Ok(files)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), QatError> {
    for entry in std::fs::read_dir(dir).map_err(QatError::io(dir, "read"))? {
        let entry = entry.map_err(QatError::io(dir, "read"))?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy().to_lowercase();
        // Programs that download datasets keep files of their own.
        if name.starts_with('.') {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, files)?;
        } else if path.is_dir() {
            // It could lead back here.
            return Err(QatError::Dataset {
                path,
                message: "a link to a directory, which is not followed; name that directory".into(),
            });
        } else if path.is_file() && is_data(&name) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_data(name: &str) -> bool {
    let inner = COMPRESSED
        .iter()
        .find_map(|ending| name.strip_suffix(ending));
    ENDINGS
        .iter()
        .any(|ending| inner.unwrap_or(name).ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_and_patterns_are_files_in_order() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("more")).unwrap();
        for name in [
            "b.jsonl",
            "a.json.gz",
            "more/c.parquet",
            "README.md",
            ".cache.json",
        ] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let names = |path: &Path| -> Vec<String> {
            let files = dataset_files(path).unwrap().into_iter();
            let relative = |file: PathBuf| file.strip_prefix(dir.path()).unwrap().to_owned();
            files
                .map(|file| relative(file).display().to_string())
                .collect()
        };
        assert_eq!(
            names(dir.path()),
            ["a.json.gz", "b.jsonl", "more/c.parquet"]
        );
        assert_eq!(names(&dir.path().join("*.jsonl")), ["b.jsonl"]);
        let error = |name: &str| {
            dataset_files(dir.path().join(name))
                .unwrap_err()
                .to_string()
        };
        assert!(error("*.csv").contains("no file matches"));
        assert!(error("none.jsonl").contains("none.jsonl"));
    }
}
