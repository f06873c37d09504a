//! One file of a result.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use bytes::Bytes;
use lamina_session::FileEntry;
use lamina_session::host;
use lamina_session::host::Destination;
use lamina_session::host::Node;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::PathError;
use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;

/// Data that a file holds in memory before it is written.
pub(super) const BUFFER_BYTES: usize = 512 << 10;

const NEW_FILE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A regular file whose data comes in. It is made when the first data is written.
pub(super) struct OpenFile {
    entry: FileEntry,
    buffered: Vec<Bytes>,
    bytes: usize,
    file: Option<File>,
}

impl OpenFile {
    pub(super) fn new(entry: FileEntry) -> Self {
        Self {
            entry,
            buffered: Vec::new(),
            bytes: 0,
            file: None,
        }
    }

    /// Keeps data; says whether it is time to write it.
    pub(super) fn buffer(&mut self, data: Bytes) -> bool {
        self.bytes += data.len();
        self.buffered.push(data);
        self.bytes >= BUFFER_BYTES
    }

    /// Returns how much data it keeps.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.bytes
    }

    /// Writes what is kept; what is at the path goes first.
    pub(super) fn flush(&mut self, destination: &Destination) -> Result<(), PathError> {
        let shown = destination.show(&self.entry.path);
        let mut file = match self.file.take() {
            Some(file) => file,
            None => create(&self.entry.path, destination)?,
        };
        self.bytes = 0;
        for data in self.buffered.drain(..) {
            file.write_all(&data).at(&shown)?;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Writes the rest and what else the file has.
    pub(super) fn finish(mut self, destination: &Destination) -> Result<(), PathError> {
        self.flush(destination)?;
        match &self.file {
            Some(file) => {
                let stat = &self.entry.stat;
                host::set_metadata(file, stat, stat.mtime_ns).at(destination.show(&self.entry.path))
            }
            None => Ok(()),
        }
    }
}

fn create(path: &[u8], destination: &Destination) -> Result<File, PathError> {
    let (parent, name) = destination.parent(path)?;
    destination.clear(&parent, name, path)?;
    let file = rustix::fs::openat(&parent, name, NEW_FILE, Mode::from_raw_mode(0o600));
    Ok(File::from(file.at(destination.show(path))?))
}

/// Makes a symlink, a pipe or a device. Devices that only root can make are left out.
pub(super) fn special(entry: &FileEntry, destination: &Destination) -> Result<(), PathError> {
    let path = &entry.path[..];
    let (parent, name) = destination.parent(path)?;
    let shown = destination.show(path);
    destination.clear(&parent, name, path)?;
    match entry.stat.kind {
        FileKind::Symlink => {
            let made = rustix::fs::symlinkat(&entry.stat.link_target[..], &parent, name);
            made.at(&shown)?;
        }
        FileKind::Fifo | FileKind::CharDevice | FileKind::BlockDevice => {
            let made = host::make_node(&entry.stat, &parent, name.as_bytes());
            if made.at(&shown)? == Node::NoPermission {
                tracing::warn!(path = shown, "left out: only root can make device nodes");
                return Ok(());
            }
        }
        FileKind::Socket | FileKind::File | FileKind::Directory => return Ok(()),
    }
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    if entry.stat.kind != FileKind::Symlink {
        let mode = Mode::from_raw_mode(entry.stat.mode);
        rustix::fs::chmodat(&parent, name, mode, AtFlags::empty()).at(&shown)?;
    }
    let times = host::timestamps(entry.stat.mtime_ns);
    rustix::fs::utimensat(&parent, name, &times, flags).at(&shown)
}

/// Gives a directory what it has in the result.
pub(super) fn directory(entry: &FileEntry, destination: &Destination) -> Result<(), PathError> {
    let open = destination.directory(&entry.path)?;
    let metadata = host::set_metadata(&open, &entry.stat, entry.stat.mtime_ns);
    metadata.at(destination.show(&entry.path))
}
