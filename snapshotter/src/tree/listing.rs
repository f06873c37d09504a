//! Listing merged directories, however large.
//!
//! Names are sorted in runs of [`RUN_NAMES`] while they are read, and the runs of all directories that
//! merge are then drawn together, smallest name first. Nothing takes long at a time, so whoever waits
//! can give up at any moment: [`read_merged_kinds_while`] asks once for each run that is read and as
//! often while the runs are merged.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use lamina_types::FileKind;
use rustix::fs::FileType;
use rustix::io::Result;

use super::Part;
use crate::Owners;
use crate::fdio;
use crate::fdio::RawName;

/// Names that are sorted at a time, which takes some milliseconds; few in tests, for runs to be many.
const RUN_NAMES: usize = if cfg!(test) { 16 } else { 16 << 10 };

/// A name that merged directories show.
pub(crate) struct Shown {
    pub(crate) name: Vec<u8>,
    /// Which of the directories has it, counted from the top.
    pub(crate) part: usize,
    pub(crate) is_dir: bool,
    /// What it is on disk, as far as `getdents` says.
    pub(crate) hint: FileType,
    /// The inode number in that directory's file system.
    pub(crate) inode: u64,
}

impl Shown {
    fn of(raw: RawName, part: usize, is_dir: bool) -> Self {
        Self {
            name: raw.name,
            part,
            is_dir,
            hint: raw.hint,
            inode: raw.inode,
        }
    }

    /// Says whether the image has a symlink here; `part` is the directory that has the name.
    pub(crate) fn is_symlink(&self, part: &Part) -> Result<bool> {
        match (part.owners, self.hint) {
            (Owners::Real, FileType::Symlink) => Ok(true),
            // Where owners are stored, a symlink is a file on disk.
            (Owners::Stored, _) | (Owners::Real, FileType::Unknown) => {
                let raw = part.stat_at(&self.name)?;
                Ok(raw.is_some_and(|raw| raw.kind() == FileKind::Symlink))
            }
            (Owners::Real, _) => Ok(false),
        }
    }
}

/// Lists the names that `parts` show together, sorted, without deleted ones.
pub(crate) fn read_merged(parts: &[Part]) -> Result<Vec<Vec<u8>>> {
    let shown = read_merged_kinds(parts)?;
    Ok(shown.into_iter().map(|shown| shown.name).collect())
}

/// As [`read_merged`], with what and where the names are; asks for no more than `getdents` says.
pub(crate) fn read_merged_kinds(parts: &[Part]) -> Result<Vec<Shown>> {
    read_merged_kinds_while(parts, &|| Ok(()))
}

/// As [`read_merged_kinds`], asking `go_on` every now and then; its error ends the listing.
pub(crate) fn read_merged_kinds_while(
    parts: &[Part],
    go_on: &dyn Fn() -> Result<()>,
) -> Result<Vec<Shown>> {
    let mut merged = Merged::default();
    for (index, part) in parts.iter().enumerate() {
        merged.read(part, index, go_on)?;
    }
    merged.into_shown(parts, go_on)
}

/// A name in one of the directories.
struct Listed {
    raw: RawName,
    part: usize,
}

impl Listed {
    /// Compares by name, and equal names from the top.
    fn order(&self, other: &Self) -> Ordering {
        (&self.raw.name, self.part).cmp(&(&other.raw.name, other.part))
    }
}

/// Sorted names, of which at least one is left.
struct Run {
    next: Listed,
    rest: std::vec::IntoIter<Listed>,
}

impl Run {
    /// Sorts names; `None` if there are none.
    fn of(mut names: Vec<Listed>) -> Option<Self> {
        names.sort_unstable_by(Listed::order);
        let mut rest = names.into_iter();
        let next = rest.next()?;
        Some(Self { next, rest })
    }
}

impl Ord for Run {
    /// Turned round, since a heap has the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.next.order(&self.next)
    }
}

impl PartialOrd for Run {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Run {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Run {}

/// All names of all directories, in order.
#[derive(Default)]
struct Merged(BinaryHeap<Run>);

impl Merged {
    /// Adds the names of `part`, which is the directory `index`.
    fn read(&mut self, part: &Part, index: usize, go_on: &dyn Fn() -> Result<()>) -> Result<()> {
        let mut names = Vec::new();
        fdio::each_name(&part.fd, |raw| {
            names.push(Listed { raw, part: index });
            if names.len() == RUN_NAMES {
                go_on()?;
                self.0.extend(Run::of(std::mem::take(&mut names)));
            }
            Ok(())
        })?;
        self.0.extend(Run::of(names));
        Ok(())
    }

    /// Takes the topmost of equal names, and leaves out what is deleted.
    fn into_shown(self, parts: &[Part], go_on: &dyn Fn() -> Result<()>) -> Result<Vec<Shown>> {
        let mut shown: Vec<Shown> = Vec::new();
        let mut deleted = None;
        for (count, Listed { raw, part }) in self.enumerate() {
            if count % RUN_NAMES == 0 {
                go_on()?;
            }
            let is_below = shown.last().is_some_and(|last| last.name == raw.name);
            if is_below || deleted.as_ref() == Some(&raw.name) {
                continue;
            }
            match is_dir(&parts[part], &raw)? {
                Some(is_dir) => shown.push(Shown::of(raw, part, is_dir)),
                None => deleted = Some(raw.name),
            }
        }
        Ok(shown)
    }
}

impl Iterator for Merged {
    type Item = Listed;

    fn next(&mut self) -> Option<Listed> {
        let mut run = self.0.peek_mut()?;
        match run.rest.next() {
            Some(next) => Some(std::mem::replace(&mut run.next, next)),
            None => Some(PeekMut::pop(run).next),
        }
    }
}

/// Says whether a name of one directory is a directory; `None` if it deletes.
fn is_dir(part: &Part, raw: &RawName) -> Result<Option<bool>> {
    if !raw.may_be_whiteout() {
        return Ok(Some(raw.hint == FileType::Directory));
    }
    let stat = fdio::stat_at(&part.fd, &raw.name)?;
    let stat = stat.filter(|stat| !stat.is_whiteout());
    Ok(stat.map(|stat| stat.is_dir()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::sync::Arc;

    use rustix::io::Errno;

    use super::*;
    use crate::XattrNamespace;

    /// Directories with files of these names, topmost first.
    fn parts(names: &[&[String]]) -> (tempfile::TempDir, Vec<Part>) {
        let folder = tempfile::tempdir().unwrap();
        let mut parts = Vec::new();
        for (index, names) in names.iter().enumerate() {
            let path = folder.path().join(index.to_string());
            fs::create_dir(&path).unwrap();
            for name in *names {
                fs::write(path.join(name), b"").unwrap();
            }
            let path = path.into_os_string().into_encoded_bytes();
            let fd = fdio::open_dir_readable(rustix::fs::CWD, &path).unwrap();
            parts.push(Part::upper(Arc::new(fd), XattrNamespace::Trusted.into()));
        }
        (folder, parts)
    }

    fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|number| number.to_string()).collect()
    }

    #[test]
    fn many_runs_are_one_sorted_list_without_doubles() {
        let (upper, lower) = (numbers(0..5 * RUN_NAMES), numbers(40..7 * RUN_NAMES));
        let (_folder, parts) = parts(&[&upper, &lower]);
        let shown = read_merged_kinds(&parts).unwrap();
        let mut wanted = numbers(0..7 * RUN_NAMES);
        wanted.sort();
        let found = shown.iter().map(|shown| shown.name.as_slice());
        assert!(found.eq(wanted.iter().map(String::as_bytes)));
        for found in &shown {
            let number: usize = str::from_utf8(&found.name).unwrap().parse().unwrap();
            let topmost = usize::from(number >= 5 * RUN_NAMES);
            assert_eq!((found.part, found.is_dir), (topmost, false), "{number}");
        }
    }

    #[test]
    fn a_listing_can_be_ended_within_each_run() {
        let (_folder, parts) = parts(&[&numbers(0..4 * RUN_NAMES)]);
        let asked = Cell::new(0);
        read_merged_kinds_while(&parts, &|| {
            asked.set(asked.get() + 1);
            Ok(())
        })
        .unwrap();
        assert!(asked.get() >= 8, "{}", asked.get());
        for end in 0..asked.get() {
            let asked = Cell::new(0);
            let ended = read_merged_kinds_while(&parts, &|| {
                asked.set(asked.get() + 1);
                if asked.get() > end {
                    Err(Errno::CANCELED)
                } else {
                    Ok(())
                }
            });
            assert_eq!(ended.err(), Some(Errno::CANCELED));
            assert_eq!(asked.get(), end + 1);
        }
    }
}
