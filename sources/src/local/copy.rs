//! Copying one file of the client.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use lamina_session::LocalOwner;
use lamina_snapshotter::FileDigester;
use lamina_snapshotter::MetadataChange;
use lamina_types::CancelToken;
use rustix::io::Errno;

use crate::SourceError;
use crate::report::Action;
use lamina_session::host;
use lamina_session::host::Fingerprint;

/// Bytes between two looks at the cancel token.
const PIECE_BYTES: usize = 1 << 20;

/// Names the process's user has no say in, or that mean nothing elsewhere.
const FOREIGN_XATTRS: [&[u8]; 5] = [
    b"system.",
    b"trusted.overlay.",
    b"user.overlay.",
    b"com.apple.",
    b"security.",
];
const CAPABILITY: &[u8] = b"security.capability";

/// Copies data in the cheapest way that works, and remembers which do not.
///
/// What cannot be shared is read and written, although the kernel could copy it: what the client sends
/// is keyed by its content, so somebody has to read it in any case, and here it is read only once.
#[derive(Default)]
pub(super) struct DataCopier {
    no_reflink: AtomicBool,
}

impl DataCopier {
    /// Copies all of `from`, about `size` bytes, into the empty file `to`, through `digester` unless the
    /// file system shares the data.
    pub(super) fn copy(
        &self,
        from: &mut File,
        to: &mut File,
        size: u64,
        digester: &mut FileDigester,
        flow: Flow<'_>,
    ) -> Result<io::Result<()>, SourceError> {
        if size > 0 && self.reflink(from, to) {
            flow.action.add(size);
            return Ok(Ok(()));
        }
        read_write(from, to, size, digester, flow)
    }

    fn reflink(&self, from: &File, to: &File) -> bool {
        if self.no_reflink.load(Ordering::Relaxed) {
            return false;
        }
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => true,
            Err(error) => {
                // What this file system cannot do for one file it cannot do for any.
                let never = is_unsupported(error) || error == Errno::NOTTY;
                self.no_reflink.fetch_or(never, Ordering::Relaxed);
                false
            }
        }
    }
}

fn is_unsupported(error: Errno) -> bool {
    matches!(
        error,
        Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM
    )
}

/// Where a copy tells how far it is, and what ends it.
#[derive(Clone, Copy)]
pub(super) struct Flow<'a> {
    pub(super) action: &'a Action,
    pub(super) cancel: &'a CancelToken,
}

/// The inner error is that of the files, the outer one that of the token.
fn read_write(
    from: &mut File,
    to: &mut File,
    size: u64,
    digester: &mut FileDigester,
    flow: Flow<'_>,
) -> Result<io::Result<()>, SourceError> {
    // One byte more than is expected: the end is seen by the second read.
    let room = usize::try_from(size).unwrap_or(PIECE_BYTES);
    let mut buffer = vec![0; room.saturating_add(1).min(PIECE_BYTES)];
    loop {
        flow.cancel.check()?;
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(Ok(())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Err(error)),
        };
        if let Err(error) = to.write_all(&buffer[..count]) {
            return Ok(Err(error));
        }
        digester.update(&buffer[..count]);
        flow.action.add(count as u64);
    }
}

/// Decides on owners once for a transfer.
#[derive(Clone, Copy)]
pub(super) struct Ownership {
    owner: LocalOwner,
    /// Whose what this process makes is.
    own: (u32, u32),
}

impl Ownership {
    pub(super) fn new(owner: LocalOwner) -> Self {
        let own = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        Self { owner, own }
    }

    pub(super) const fn is_root(&self) -> bool {
        self.own.0 == 0
    }

    /// Returns what to set on a new entry; what it has already is left out.
    pub(super) fn metadata(
        &self,
        found: &Fingerprint,
        xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> MetadataChange {
        let owner = match self.owner {
            LocalOwner::AsIs => (found.uid, found.gid),
            LocalOwner::Fixed { uid, gid } => (uid, gid),
        };
        let owner = (owner != self.own).then_some(owner);
        // A change of owner takes the set-id bits away, and so does each write of a user.
        let mode = (found.mode & 0o6000 != 0).then_some(found.mode);
        MetadataChange {
            owner,
            mode,
            mtime_ns: Some(found.mtime_ns),
            xattrs: (!xattrs.is_empty()).then_some(xattrs),
        }
    }

    /// Returns the extended attributes of a name that belong to the image.
    pub(super) fn xattrs(&self, dir: &OwnedFd, name: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        host::xattrs(dir, name, |name| self.keeps(name))
    }

    /// Says whether an attribute belongs to the image and may be set.
    pub(super) fn keeps(&self, name: &[u8]) -> bool {
        if name.is_empty() {
            return false;
        }
        if name == CAPABILITY {
            return self.is_root();
        }
        let foreign = FOREIGN_XATTRS.iter().any(|prefix| name.starts_with(prefix));
        !foreign && (self.is_root() || !name.starts_with(b"trusted."))
    }
}
