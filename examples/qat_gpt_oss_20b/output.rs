//! The output directory and what lies in it at the end.

use std::fs::{DirEntry, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail, ensure};
use burn_gpt_oss::OutputDirectory;
use burn_qat_train::{QatError, Recipe, ResultTable, Sample, Stage, dataset_files};

use crate::page::PAGE;
use crate::timestamp;

/// What a run was told to do, and the figures of what it reached.
pub const RECIPE: &str = "recipe.json";
pub const RESULTS: &str = "results.json";
/// How a run was called, and by which version.
pub const RUN: &str = "run.json";

/// Everything a run writes beside the directories of its stages; `--overwrite` removes both and nothing else.
const CONTENTS: [&str; 10] = [
    "answers",
    "original",
    "train.jsonl",
    "valid.jsonl",
    RUN,
    RESULTS,
    "results.md",
    "loss.svg",
    PAGE,
    "logs",
];

/// Locked while a run owns its directory.
const LOCK: &str = ".lock";

/// What becomes of an earlier run in the output directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// There is none.
    New,
    Overwrite,
    Resume,
}

const RESUME_NEEDS_OUT: &str = "--resume needs --out: the directory of the run to go on with";

/// An output directory that belongs to this run until it is dropped.
pub struct Output {
    path: PathBuf,
    /// The system takes the lock back when the process ends, however it ends.
    _lock: File,
}

impl Output {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the directory that the arguments name, or one of its own for this run, without the
    /// results of an earlier run.
    pub fn create(recipe: &Recipe, mode: Mode) -> Result<Self> {
        let Some(out) = &recipe.output else {
            return Self::create_new();
        };
        std::fs::create_dir_all(out)
            .with_context(|| format!("{}: cannot be created", out.display()))?;
        let output = Self::lock(out.clone())?;
        // Another run may have come and gone since the first look.
        check_contents(recipe, mode, out)?;
        remove_partial(out)?;
        for name in contents(recipe, out) {
            remove(&out.join(name))?;
        }
        Ok(output)
    }

    /// The directory of an earlier run, as it is.
    pub fn reopen(recipe: &Recipe) -> Result<Self> {
        let out = recipe.output.clone();
        let output = Self::lock(out.context(RESUME_NEEDS_OUT)?)?;
        remove_partial(output.path())?;
        Ok(output)
    }

    /// `runs/<time>`, with a number behind it if another run began in the same second.
    fn create_new() -> Result<Self> {
        let runs = Path::new("runs");
        std::fs::create_dir_all(runs).context("runs: cannot be created")?;
        let time = timestamp::now();
        for attempt in 1.. {
            let name = match attempt {
                1 => time.clone(),
                _ => format!("{time}_{attempt}"),
            };
            let out = runs.join(name);
            match std::fs::create_dir(&out) {
                Ok(()) => return Self::lock(out),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let what = format!("{}: cannot be created", out.display());
                    return Err(Error::new(error).context(what));
                }
            }
        }
        bail!("runs: no name is left")
    }

    fn lock(path: PathBuf) -> Result<Self> {
        let name = path.join(LOCK);
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&name)
            .with_context(|| name.display().to_string())?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(QatError::InUse { path }.into()),
            // Some file systems have no locks.
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        Ok(Self { path, _lock: lock })
    }
}

/// Refuses an output directory that is occupied and may not be overwritten, belongs to a run that is
/// going on, or holds what is read.
pub fn check(recipe: &Recipe, mode: Mode) -> Result<()> {
    let Some(out) = &recipe.output else {
        ensure!(mode != Mode::Resume, RESUME_NEEDS_OUT);
        return Ok(());
    };
    if let Ok(lock) = File::open(out.join(LOCK))
        && let Err(TryLockError::WouldBlock) = lock.try_lock_shared()
    {
        return Err(QatError::InUse { path: out.clone() }.into());
    }
    if mode != Mode::Resume {
        return check_contents(recipe, mode, out);
    }
    let saved = out.join(RECIPE);
    ensure!(
        saved.is_file(),
        "{}: --resume finds no run to go on with",
        saved.display()
    );
    Ok(())
}

fn check_contents(recipe: &Recipe, mode: Mode, out: &Path) -> Result<()> {
    let entries = |entry: std::io::Result<DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_str() != Some(LOCK))
    };
    let occupied = out.read_dir().is_ok_and(|mut list| list.any(entries));
    if occupied || !out.is_dir() {
        OutputDirectory::check(out, mode == Mode::Overwrite)?;
    }
    ensure!(
        !occupied || out.join(RECIPE).is_file(),
        "{}: --overwrite replaces the results of an earlier run, but there is no recipe.json of one; \
         choose another directory",
        out.display()
    );
    let data = [&recipe.data, &recipe.eval_data].into_iter().flatten();
    // A pattern may match files of the run.
    let files = data.flat_map(|path| dataset_files(path).unwrap_or_default());
    let inputs: Vec<PathBuf> = recipe.model.iter().cloned().chain(files).collect();
    for input in &inputs {
        ensure!(
            !inside(input, out),
            "{}: lies in the output directory, whose contents are replaced; choose another one",
            input.display()
        );
    }
    Ok(())
}

/// The names of everything that this run and an earlier one in the directory write.
fn contents(recipe: &Recipe, out: &Path) -> Vec<String> {
    let mut stages: Vec<String> = recipe.stages.iter().map(|(name, _)| name.clone()).collect();
    let earlier = std::fs::read(out.join(RECIPE)).ok();
    let earlier = earlier.and_then(|text| serde_json::from_slice::<Recipe>(&text).ok());
    stages.extend(
        earlier
            .into_iter()
            .flat_map(|recipe| recipe.stages)
            .map(|(name, _)| name),
    );
    let of_run = CONTENTS.iter().map(|name| (*name).to_owned());
    let of_stages = stages.iter().flat_map(|name| Stage::directories(name));
    // The recipe last: without it nobody could tell what the rest is.
    of_run.chain(of_stages).chain([RECIPE.to_owned()]).collect()
}

/// Removes what a run that was killed left of directories and records that it was writing.
fn remove_partial(out: &Path) -> Result<()> {
    let is_partial = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let hidden = name.starts_with('.')
            && [".partial", ".replaced"]
                .iter()
                .any(|part| name.contains(part));
        hidden || name.ends_with(".bpk.partial")
    };
    let mut dirs = vec![out.to_path_buf()];
    let logs = out.join("logs").read_dir();
    dirs.extend(
        logs.into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path()),
    );
    let entries = dirs.iter().filter_map(|dir| dir.read_dir().ok()).flatten();
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(is_partial).try_for_each(|path| remove(&path))
}

/// Whether a path is a directory or lies in it, links resolved.
fn inside(path: &Path, dir: &Path) -> bool {
    match (path.canonicalize(), dir.canonicalize()) {
        (Ok(path), Ok(dir)) => path.starts_with(dir),
        _ => false,
    }
}

/// Removes a file or directory, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    let removed = match path.is_dir() {
        true => std::fs::remove_dir_all(path),
        false if path.exists() => std::fs::remove_file(path),
        false => Ok(()),
    };
    removed.with_context(|| format!("{}: cannot be replaced", path.display()))
}

/// Writes every answer to the held-out prompts, a line each; nothing where none was asked for.
pub fn write_answers(out: &Path, row: &str, answers: &[Sample]) -> Result<()> {
    if answers.is_empty() {
        return Ok(());
    }
    let dir = out.join("answers");
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let words = row.split(|c: char| !c.is_alphanumeric());
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let mut lines = String::new();
    for answer in answers {
        lines.push_str(&serde_json::to_string(answer)?);
        lines.push('\n');
    }
    write(&dir.join(words.join("_")).with_extension("jsonl"), &lines)
}

/// Writes the table as Markdown and JSON.
pub fn write_table(out: &Path, table: &ResultTable) -> Result<()> {
    write(
        &out.join("results.md"),
        &format!("{}\n", table.to_markdown()),
    )?;
    write(
        &out.join(RESULTS),
        &format!("{:#}\n", serde_json::to_value(table)?),
    )
}

/// Writes a file as a whole: a reader, or a full disk, never leaves half of it.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let name = || path.display().to_string();
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).with_context(name)?;
    file.write_all(text.as_bytes()).with_context(name)?;
    file.as_file().sync_all().with_context(name)?;
    let placed = file.persist(path).with_context(name)?;
    readable(&placed).with_context(name)
}

/// Temporary files are private; results are as readable as any new file.
fn readable(file: &File) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    let _ = file;
    Ok(())
}
