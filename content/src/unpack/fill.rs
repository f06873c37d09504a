//! Small files of an archive, filled on all cores.
//!
//! Names are made one after the other, in the order of the archive, by the thread that reads it. What
//! belongs to an inode alone (its data, owner, attributes, mode and time) waits until there are many
//! files, and is then written by all threads of the pool: whatever later entries do to the names, the
//! inodes stay the same. Only a hard link changes what an earlier entry made, so its user calls
//! [`Filling::finish`] first.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use lamina_snapshotter::WriteDir;
use lamina_types::CancelToken;
use lamina_types::IoContext;
use rayon::iter::IntoParallelIterator;
use rayon::iter::ParallelIterator;

use super::extract::Rules;
use super::metadata::Made;
use super::metadata::set_metadata;
use crate::ContentError;
use crate::archive::Entry;
use crate::archive::TarReader;

/// The most data of a file that waits for others; larger ones are written as they are read.
const SMALL_BYTES: u64 = 256 << 10;
/// Files that wait, each with an open descriptor.
const MAX_FILES: usize = 128;
/// Data that waits.
const MAX_BYTES: usize = 8 << 20;

/// Files whose names are made and that are still empty.
#[derive(Default)]
pub(super) struct Filling {
    files: Vec<Waiting>,
    bytes: usize,
}

struct Waiting {
    place: WriteDir,
    name: Vec<u8>,
    file: File,
    entry: Entry,
    data: Data,
}

/// What a file holds: runs of data, and holes between them.
struct Data {
    runs: Vec<(u64, u64)>,
    has_holes: bool,
    bytes: Vec<u8>,
}

impl Filling {
    /// Says whether the file that `tar` stands at may wait.
    pub(super) fn takes<R: Read>(tar: &TarReader<R>) -> bool {
        tar.stored_bytes() <= SMALL_BYTES
    }

    /// Takes over `file`, just made for `entry` as `name` in `place`, and reads its data.
    pub(super) fn add<R: Read>(
        &mut self,
        (place, name): (&WriteDir, &[u8]),
        file: File,
        entry: &Entry,
        tar: &mut TarReader<R>,
    ) -> Result<(), ContentError> {
        let data = Data::read(tar)?;
        self.bytes += data.bytes.len();
        self.files.push(Waiting {
            place: place.clone(),
            name: name.to_vec(),
            file,
            entry: entry.clone(),
            data,
        });
        Ok(())
    }

    /// Says whether no more should wait.
    pub(super) fn is_full(&self) -> bool {
        self.files.len() >= MAX_FILES || self.bytes >= MAX_BYTES
    }

    /// Writes everything; of several errors the one of the earliest entry is returned.
    pub(super) fn finish(
        &mut self,
        rules: Rules,
        cancel: &CancelToken,
    ) -> Result<(), ContentError> {
        self.bytes = 0;
        let files = std::mem::take(&mut self.files);
        let written: Vec<Result<(), ContentError>> = files
            .into_par_iter()
            .map(|file| {
                cancel.check()?;
                file.write(rules)
            })
            .collect();
        written.into_iter().collect()
    }
}

impl Waiting {
    fn write(&self, rules: Rules) -> Result<(), ContentError> {
        self.data
            .write(&self.file, self.entry.size)
            .at(String::from_utf8_lossy(&self.entry.path))?;
        let made = Made {
            place: &self.place,
            name: &self.name,
            file: Some(&self.file),
        };
        set_metadata(rules, &self.entry, &made)
    }
}

impl Data {
    fn read<R: Read>(tar: &mut TarReader<R>) -> Result<Self, ContentError> {
        let (runs, has_holes) = tar.runs();
        let length = tar.stored_bytes().min(SMALL_BYTES);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += tar.read_data(&mut bytes[filled..])?;
        }
        Ok(Self {
            runs,
            has_holes,
            bytes,
        })
    }

    fn write(&self, file: &File, size: u64) -> std::io::Result<()> {
        let mut left = &self.bytes[..];
        for &(start, length) in &self.runs {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let (run, rest) = left.split_at(length.min(left.len()));
            file.write_all_at(run, start)?;
            left = rest;
        }
        match self.has_holes {
            true => file.set_len(size),
            false => Ok(()),
        }
    }
}
