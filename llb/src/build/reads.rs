//! Reading files of results, without a mount (rows GW-25 to GW-27).
//!
//! Errors name the path inside the tree, in the words that clients know.

use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;

use lamina_patterns::PatternList;
use lamina_snapshotter::Entry;
use lamina_snapshotter::Follow;
use lamina_snapshotter::SnapshotError;
use lamina_snapshotter::Tree;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::RootedPath;
use lamina_types::Stat;

use crate::BuildError;

/// Largest file that is read into memory: a message of the wire's limit holds no more (row NET-04).
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Reads a regular file; a range beyond the end yields what is there.
pub(crate) fn read_file(
    tree: &Tree,
    path: &str,
    range: Option<(u64, u64)>,
) -> Result<Vec<u8>, BuildError> {
    let entry = look_up(tree, path, "open")?;
    if entry.stat().kind != FileKind::File {
        return Err(BuildError::new(format!("{path} is not a regular file")));
    }
    let (offset, length) = range.unwrap_or((0, u64::MAX));
    let wanted = entry.stat().size.saturating_sub(offset).min(length);
    if wanted == 0 {
        return Ok(Vec::new());
    }
    if wanted > MAX_FILE_BYTES {
        let limit = format!("{path}: larger than {MAX_FILE_BYTES} bytes");
        return Err(BuildError::new(limit));
    }
    let failed = |error: SnapshotError| BuildError::new(format!("read {error}"));
    let mut file = entry.open().map_err(failed)?;
    let mut data = Vec::new();
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| file.take(wanted).read_to_end(&mut data))
        .at(entry.path())
        .map_err(|error| failed(error.into()))?;
    Ok(data)
}

/// Lists the children of a directory, sorted by name.
pub(crate) fn read_dir(
    tree: &Tree,
    path: &str,
    include: Option<&str>,
) -> Result<Vec<(Vec<u8>, Stat)>, BuildError> {
    let entry = look_up(tree, path, "lstat")?;
    if !entry.stat().is_dir() {
        return Err(BuildError::new(format!(
            "stat {}: not a directory",
            entry.path()
        )));
    }
    let include = include.filter(|pattern| !pattern.is_empty());
    let include = include
        .map(|pattern| PatternList::new(&[pattern]))
        .transpose();
    let include = include.map_err(|error| BuildError::new(error.to_string()))?;
    let wanted = |name: &Vec<u8>| include.as_ref().is_none_or(|list| list.matches_path(name));
    let names = entry.read_dir().map_err(text)?;
    let child = |name: Vec<u8>| {
        let stat = entry.child(&name).map_err(text)?.stat().clone();
        Ok((name, stat))
    };
    names.into_iter().filter(wanted).map(child).collect()
}

/// Describes what a path leads to, under the base name of where that is.
pub(crate) fn stat_file(tree: &Tree, path: &str) -> Result<(Vec<u8>, Stat), BuildError> {
    let entry = look_up(tree, path, "lstat")?;
    let name = entry.path().file_name().unwrap_or(b"/").to_vec();
    Ok((name, entry.stat().clone()))
}

/// Describes a symbolic link itself; `None` if the path names none.
pub(crate) fn stat_link(tree: &Tree, path: &str) -> Option<(Vec<u8>, Stat)> {
    let entry = tree.lookup(&RootedPath::new(path), Follow::Parents).ok()?;
    let is_link = entry.stat().kind == FileKind::Symlink;
    let name = entry.path().file_name()?.to_vec();
    is_link.then(|| (name, entry.stat().clone()))
}

fn look_up(tree: &Tree, path: &str, operation: &str) -> Result<Entry, BuildError> {
    let found = tree.lookup(&RootedPath::new(path), Follow::Last);
    found.map_err(|error| {
        let operation = if error.is_not_found() {
            operation
        } else {
            "lstat"
        };
        BuildError::new(format!("{operation} {error}"))
    })
}

fn text(error: SnapshotError) -> BuildError {
    BuildError::new(error.to_string())
}
