//! Digests of files that are being written.
//!
//! Whoever writes a file has its bytes in hand once; reading them again later, only to hash them, costs
//! as much as writing them did. So a writer that knows the metadata beforehand hashes on the way
//! ([`FileDigester`]), and the layer that is being made keeps the result in its [`Book`] until it is
//! sealed:
//!
//! ```text
//! let mut digester = FileDigester::new(mode, size, &change);
//! let mut file = dir.create_file(name, mode)?;
//! file.write_all(&data)?;           digester.update(&data);
//! dir.finish_file(&file, &change, digester)?;
//! ```
//!
//! A wrong digest would be a wrong hit in the cache, so nothing is taken on trust. At the end the file
//! has to be what the digester was told, to the byte and the bit, or there is no digest. What is
//! written to, given other metadata, or removed afterwards loses its digest; and when the layer is
//! sealed, an inode that changed since its digest was noted has none. Then it is computed when it is
//! asked for, as for files that processes write.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lamina_types::Digest;
use lamina_types::FileKind;
use lamina_types::Sha256Hasher;
use lamina_types::Stat;

use super::content;
use crate::MetadataChange;
use crate::fdio::RawStat;

/// Digests a regular file while its data is written.
///
/// To be handed to [`crate::WriteDir::finish_file`] with the file. One that was not given all the data,
/// since the kernel copied it, is of no use and does no harm.
#[must_use]
pub struct FileDigester {
    hasher: Sha256Hasher,
    /// Digest of the metadata that the file is going to have.
    header: Digest,
    bytes: u64,
}

impl FileDigester {
    /// Starts the digest of a file of `size` bytes that is made with the permissions `mode` and then
    /// given `change`.
    pub fn new(mode: u32, size: u64, change: &MetadataChange) -> Self {
        let mut stat = Stat::new(FileKind::File, change.mode.unwrap_or(mode));
        let own = || {
            let user = rustix::process::geteuid().as_raw();
            (user, rustix::process::getegid().as_raw())
        };
        (stat.uid, stat.gid) = change.owner.unwrap_or_else(own);
        stat.size = size;
        stat.xattrs = change.xattrs.clone().unwrap_or_default();
        Self {
            hasher: content::start(&stat),
            header: content::header(&stat),
            bytes: 0,
        }
    }

    /// Appends the data that was written next.
    pub fn update(&mut self, data: &[u8]) {
        self.hasher.update(data);
        self.bytes += data.len() as u64;
    }

    /// Returns the digest if the file became what was announced.
    pub(crate) fn finish(self, found: &Stat) -> Option<Digest> {
        let fits = self.bytes == found.size && self.header == content::header(found);
        fits.then(|| self.hasher.finish())
    }
}

/// What is known of a file of a layer that is being made.
#[derive(Clone, Copy)]
struct Known {
    digest: Digest,
    /// When the inode last changed; `None` for one of a sealed layer, which never does.
    changed: Option<(i64, u32)>,
}

/// Digests of the files of a layer that is being made, by inode.
#[derive(Default)]
pub(crate) struct Book(Mutex<HashMap<u64, Known>>);

impl Book {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the digest of a file that is finished, and is now as `raw` says.
    pub(crate) fn note(&self, raw: &RawStat, digest: Digest) {
        let changed = Some(raw.ctime());
        self.lock().insert(raw.inode(), Known { digest, changed });
    }

    /// Notes the digest of an inode that this layer shares with a sealed one.
    pub(crate) fn take_over(&self, inode: u64, digest: Digest) {
        let changed = None;
        self.lock().insert(inode, Known { digest, changed });
    }

    /// Forgets an inode that changes, or whose number the next file may get.
    pub(crate) fn forget(&self, inode: u64) {
        self.lock().remove(&inode);
    }

    /// Forgets all, before something happens to many files or to files that nobody names.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Returns the digest of the file that `raw` describes, if it is still what was noted.
    pub(crate) fn get(&self, raw: &RawStat) -> Option<Digest> {
        let known = *self.lock().get(&raw.inode())?;
        let same = known.changed.is_none_or(|changed| changed == raw.ctime());
        same.then_some(known.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digester(change: &MetadataChange) -> FileDigester {
        let mut digester = FileDigester::new(0o644, 3, change);
        digester.update(b"ab");
        digester.update(b"c");
        digester
    }

    fn found(change: impl FnOnce(&mut Stat)) -> Stat {
        let mut stat = Stat::new(FileKind::File, 0o644);
        (stat.uid, stat.gid, stat.size) = (7, 8, 3);
        change(&mut stat);
        stat
    }

    #[test]
    fn only_a_file_that_became_what_was_announced_has_a_digest() {
        let owned = MetadataChange {
            owner: Some((7, 8)),
            ..MetadataChange::default()
        };
        for (what, stat, expected) in [
            ("as announced", found(|_| {}), true),
            ("time", found(|stat| stat.mtime_ns = 5), true),
            ("links", found(|stat| stat.nlink = 5), true),
            ("owner", found(|stat| stat.uid = 1), false),
            ("group", found(|stat| stat.gid = 1), false),
            ("mode", found(|stat| stat.mode = 0o600), false),
            ("longer", found(|stat| stat.size = 4), false),
            (
                "attribute",
                found(|stat| drop(stat.xattrs.insert(b"user.a".to_vec(), Vec::new()))),
                false,
            ),
        ] {
            assert_eq!(digester(&owned).finish(&stat).is_some(), expected, "{what}");
        }
        let mut torn = FileDigester::new(0o644, 3, &owned);
        torn.update(b"ab");
        assert_eq!(torn.finish(&found(|_| {})), None);
    }
}
