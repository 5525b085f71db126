use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::GptOssError;

/// A directory that appears under its name only when it is complete.
///
/// Files are written into a temporary sibling; [`commit`](Self::commit) syncs and renames it.
/// Dropped before that, it leaves nothing behind.
pub struct OutputDirectory {
    target: PathBuf,
    temp: TempDir,
    overwrite: bool,
}

impl OutputDirectory {
    /// Starts a directory. A target that exists and is not empty is refused unless `overwrite`.
    ///
    /// # Errors
    /// [`GptOssError::OutputExists`], or an error of the file system.
    pub fn create(target: impl AsRef<Path>, overwrite: bool) -> Result<Self, GptOssError> {
        let target = target.as_ref().to_path_buf();
        Self::check(&target, overwrite)?;
        let parent = parent_of(&target);
        std::fs::create_dir_all(parent).map_err(GptOssError::io(parent, "create directory"))?;
        let name = target
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let temp = sibling(parent, &format!(".{name}.partial-"))?;
        Ok(Self {
            target,
            temp,
            overwrite,
        })
    }

    /// Whether [`create`](Self::create) would accept the target.
    ///
    /// # Errors
    /// [`GptOssError::OutputExists`] for a directory with content that may not be overwritten,
    /// [`GptOssError::OutputNotADirectory`] for a file or link.
    pub fn check(target: &Path, overwrite: bool) -> Result<(), GptOssError> {
        let path = || target.to_path_buf();
        let Ok(metadata) = target.symlink_metadata() else {
            return Ok(());
        };
        if !metadata.is_dir() {
            return Err(GptOssError::OutputNotADirectory { path: path() });
        }
        let mut entries = std::fs::read_dir(target).map_err(GptOssError::io(target, "list"))?;
        if entries.next().is_some() && !overwrite {
            return Err(GptOssError::OutputExists { path: path() });
        }
        Ok(())
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        self.temp.path()
    }

    /// Syncs every file and puts the directory in place, replacing the old one.
    ///
    /// # Errors
    /// Errors of the file system; the old directory is then still there.
    pub fn commit(self) -> Result<(), GptOssError> {
        put_in_place(self.temp.path(), &self.target, self.overwrite)?;
        // It has another name now.
        let _ = self.temp.keep();
        Ok(())
    }
}

/// Syncs a complete directory and gives it its name, replacing the old one if that is allowed.
pub(super) fn put_in_place(dir: &Path, target: &Path, overwrite: bool) -> Result<(), GptOssError> {
    for entry in std::fs::read_dir(dir).map_err(GptOssError::io(dir, "list"))? {
        let path = entry.map_err(GptOssError::io(dir, "list"))?.path();
        sync(&path)?;
    }
    sync(dir)?;
    OutputDirectory::check(target, overwrite)?;
    let retired = retire(target)?;
    if let Err(error) = std::fs::rename(dir, target) {
        if let Some(old) = retired {
            let _ = std::fs::rename(old.keep(), target);
        }
        return Err(GptOssError::io(target, "rename")(error));
    }
    sync(parent_of(target))
}

/// Moves an old directory aside; it is removed when the returned handle is dropped.
fn retire(target: &Path) -> Result<Option<TempDir>, GptOssError> {
    if !target.exists() {
        return Ok(None);
    }
    let old = sibling(parent_of(target), ".replaced-")?;
    // A rename replaces an empty directory in one step.
    std::fs::rename(target, old.path()).map_err(GptOssError::io(target, "rename"))?;
    Ok(Some(old))
}

pub(super) fn parent_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// A temporary directory beside the target, readable as any new directory of this user.
fn sibling(parent: &Path, prefix: &str) -> Result<TempDir, GptOssError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o777));
    }
    builder
        .tempdir_in(parent)
        .map_err(GptOssError::io(parent, "create temporary directory"))
}

/// Flushes a file or directory to the device.
pub(super) fn sync(path: &Path) -> Result<(), GptOssError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(GptOssError::io(path, "sync"))
}
