//! The output directory and what lies in it at the end.

use std::fs::{DirEntry, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Error, Result, bail, ensure};
use burn_gpt_oss::OutputDirectory;
use burn_qat_train::{Curve, History, QatError, ResultTable, loss_plot};

use crate::args::Args;

/// What a run was told to do, and the figures of what it reached.
pub const RECIPE: &str = "recipe.json";
pub const RESULTS: &str = "results.json";

/// Everything a run writes; `--overwrite` removes these and nothing else.
const CONTENTS: [&str; 18] = [
    "original",
    "sft",
    "sft_ptq",
    "sft_qat",
    "sft_longer",
    "sft_longer_ptq",
    "lora_sft",
    "lora_sft_adapter",
    "lora_sft_ptq",
    "lora_qat",
    "lora_qat_adapter",
    "train.jsonl",
    "valid.jsonl",
    RECIPE,
    RESULTS,
    "results.md",
    "loss.svg",
    "logs",
];

/// Locked while a run owns its directory.
const LOCK: &str = ".lock";

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
    pub fn create(args: &Args) -> Result<Self> {
        let Some(out) = &args.out else {
            return Self::create_new();
        };
        std::fs::create_dir_all(out)
            .with_context(|| format!("{}: cannot be created", out.display()))?;
        let output = Self::lock(out.clone())?;
        // Another run may have come and gone since the first look.
        check_contents(args, out)?;
        for name in CONTENTS {
            remove(&out.join(name))?;
        }
        Ok(output)
    }

    /// The directory of an earlier run, as it is.
    pub fn reopen(args: &Args) -> Result<Self> {
        let out = args.out.clone().context("--resume needs --out")?;
        Self::lock(out)
    }

    /// `runs/<time>`, with a number behind it if another run began in the same second.
    fn create_new() -> Result<Self> {
        let runs = Path::new("runs");
        std::fs::create_dir_all(runs).context("runs: cannot be created")?;
        let time = timestamp();
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
pub fn check(args: &Args) -> Result<()> {
    let Some(out) = &args.out else {
        return Ok(());
    };
    if let Ok(lock) = File::open(out.join(LOCK))
        && let Err(TryLockError::WouldBlock) = lock.try_lock_shared()
    {
        return Err(QatError::InUse { path: out.clone() }.into());
    }
    if !args.resume {
        return check_contents(args, out);
    }
    let recipe = out.join(RECIPE);
    ensure!(
        recipe.is_file(),
        "{}: --resume finds no run to go on with",
        recipe.display()
    );
    Ok(())
}

fn check_contents(args: &Args, out: &Path) -> Result<()> {
    let entries = |entry: std::io::Result<DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_str() != Some(LOCK))
    };
    let occupied = out.read_dir().is_ok_and(|mut list| list.any(entries));
    if occupied || !out.is_dir() {
        OutputDirectory::check(out, args.overwrite)?;
    }
    ensure!(
        !occupied || out.join(RECIPE).is_file(),
        "{}: --overwrite replaces the results of an earlier run, but there is no recipe.json of one; \
         choose another directory",
        out.display()
    );
    for input in [&args.model, &args.data].into_iter().flatten() {
        ensure!(
            !inside(input, out),
            "{}: lies in the output directory, whose contents are replaced; choose another one",
            input.display()
        );
    }
    Ok(())
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

/// `2026-11-21_03-45-10`, UTC.
fn timestamp() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_date(days as i64);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year}-{month:02}-{day:02}_{hour:02}-{minute:02}-{second:02}")
}

/// Days since 1970 to a date (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil_date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
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

/// Draws the loss curves: later stages start where SFT ended, PTQ is a level line.
pub fn write_plot(
    out: &Path,
    stages: &[(&str, usize, &History)],
    ptq: Option<(&str, f64)>,
) -> Result<()> {
    let mut curves: Vec<Curve> = stages
        .iter()
        .map(|(name, start, history)| curve(name, *start, history))
        .collect();
    let last_step = |curve: &Curve| curve.train.last().map_or(0.0, |(step, _)| *step);
    let end = curves.iter().map(last_step).fold(0.0, f64::max);
    if let (Some((name, loss)), Some(sft)) = (ptq, curves.first().map(last_step)) {
        let valid = vec![(sft, loss), (end, loss)];
        curves.push(Curve {
            name: name.into(),
            valid,
            ..Curve::default()
        });
    }
    write(
        &out.join("loss.svg"),
        &loss_plot("Loss while fine-tuning for MXFP4", &curves)?,
    )
}

fn curve(name: &str, start: usize, history: &History) -> Curve {
    let x = |step: usize| (start + step) as f64;
    Curve {
        name: name.into(),
        train: history
            .train
            .iter()
            .map(|point| (x(point.step), point.loss))
            .collect(),
        valid: history
            .valid
            .iter()
            .map(|point| (x(point.step), point.loss))
            .collect(),
    }
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
