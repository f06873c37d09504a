//! Carrying out the plan of a local export.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use lamina_session::host::Destination;
use lamina_session::host::split;
use lamina_types::CancelToken;
use lamina_types::IoContext;
use lamina_types::Progress;
use rayon::iter::IntoParallelRefIterator as _;
use rayon::iter::ParallelIterator as _;
use rustix::fs::Mode;

use super::file::Outcome;
use super::file::Owners;
use super::file::set_metadata;
use super::file::write_file;
use super::plan::Plan;
use super::plan::PlannedDirectory;
use super::plan::PlannedFile;
use crate::ExportError;

/// Directories first, so that files can be written side by side; directories get their modes and
/// times last, deepest first.
///
/// # Errors
/// The first that occurs; what was written stays.
pub(super) fn write(
    plan: &Plan,
    destination: &Destination,
    owners: Owners,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<(), ExportError> {
    for directory in &plan.directories {
        cancel.check()?;
        destination.make_directory(&directory.path)?;
    }
    let skipped = AtomicU64::new(0);
    let groups: Vec<&[PlannedFile]> = plan.files.chunk_by(same_directory).collect();
    groups.par_iter().try_for_each(|group| {
        let parent = destination.directory(split(&group[0].path).0)?;
        group.par_iter().try_for_each(|file| {
            cancel.check()?;
            if write_file(file, &parent, destination, owners)? == Outcome::NoPermission {
                skipped.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), ExportError>(())
        })
    })?;
    warn_of(skipped.into_inner(), progress);
    for (path, first) in &plan.links {
        cancel.check()?;
        destination.link(path, first)?;
    }
    for directory in plan.directories.iter().rev() {
        finish_directory(destination, directory, owners)?;
    }
    Ok(())
}

fn same_directory(a: &PlannedFile, b: &PlannedFile) -> bool {
    split(&a.path).0 == split(&b.path).0
}

fn warn_of(skipped: u64, progress: &Progress) {
    if skipped > 0 {
        progress.warn(&format!(
            "{skipped} device nodes were left out of the local output: only root can make them"
        ));
    }
}

fn finish_directory(
    destination: &Destination,
    planned: &PlannedDirectory,
    owners: Owners,
) -> Result<(), ExportError> {
    let directory: OwnedFd = destination.directory(&planned.path)?;
    let shown = destination.show(&planned.path);
    match &planned.stat {
        Some(stat) => {
            let time = planned.mtime_ns.unwrap_or(stat.mtime_ns);
            set_metadata(&directory, stat, time, owners).at(shown)?;
        }
        None => rustix::fs::fchmod(&directory, Mode::from_raw_mode(0o755)).at(shown)?,
    }
    Ok(())
}
