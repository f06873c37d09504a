//! The bytes that are hashed.
//!
//! Numbers are little-endian, *fields* are preceded by their length as a `u64`.
//!
//! ```text
//! file, header   "lamina-file 1" kind:u8 mode:u32 uid:u32 gid:u32 size:u64 major:u32 minor:u32
//!                target:field attributes:u64 (name:field value:field)* data
//! directory      "lamina-directory 1" header:32 (name:field digest:32)*
//! selection      "lamina-selection 1" (path:field digest:32)*
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;

use lamina_types::CancelToken;
use lamina_types::Digest;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::Sha256Hasher;
use lamina_types::Stat;

use crate::SnapshotError;

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// Chunks between two looks at the cancel token: one MiB.
const CHUNKS_PER_CHECK: usize = 16;

/// Digests a file whose data is in `data`, or one that has none.
pub(super) fn file(
    stat: &Stat,
    data: Option<&File>,
    cancel: &CancelToken,
) -> Result<Digest, SnapshotError> {
    let mut hasher = start(stat);
    if let Some(mut data) = data {
        let mut chunk = [0; CHUNK_BYTES];
        for round in 1.. {
            match data.read(&mut chunk).at("layer file")? {
                0 => break,
                length => hasher.update(&chunk[..length]),
            }
            if round % CHUNKS_PER_CHECK == 0 {
                cancel.check()?;
            }
        }
    }
    Ok(hasher.finish())
}

/// Digests the metadata of a directory.
pub(super) fn header(stat: &Stat) -> Digest {
    start(stat).finish()
}

/// Digests a directory from its header and its children in byte order.
pub(super) fn directory<'a>(
    header: &Digest,
    children: impl Iterator<Item = (&'a [u8], &'a Digest)>,
) -> Digest {
    let mut hasher = Sha256Hasher::new();
    hasher.update(b"lamina-directory 1");
    hasher.update(header.as_bytes());
    list(hasher, children)
}

/// Digests a filtered selection.
pub(super) fn selection<'a>(included: impl Iterator<Item = (&'a [u8], &'a Digest)>) -> Digest {
    let mut hasher = Sha256Hasher::new();
    hasher.update(b"lamina-selection 1");
    list(hasher, included)
}

fn list<'a>(
    mut hasher: Sha256Hasher,
    items: impl Iterator<Item = (&'a [u8], &'a Digest)>,
) -> Digest {
    for (name, digest) in items {
        hasher.update_field(name);
        hasher.update(digest.as_bytes());
    }
    hasher.finish()
}

/// Starts the digest of a file; its data follows.
pub(super) fn start(stat: &Stat) -> Sha256Hasher {
    let mut hasher = Sha256Hasher::new();
    hasher.update(b"lamina-file 1");
    hasher.update(&[kind_code(stat.kind)]);
    for number in [stat.mode, stat.uid, stat.gid] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&stat.size.to_le_bytes());
    for number in [stat.device.major, stat.device.minor] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update_field(&stat.link_target);
    update_attributes(&mut hasher, &stat.xattrs);
    hasher
}

fn update_attributes(hasher: &mut Sha256Hasher, xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let counted: Vec<_> = xattrs.iter().filter(|(name, _)| counts(name)).collect();
    hasher.update(&(counted.len() as u64).to_le_bytes());
    for (name, value) in counted {
        hasher.update_field(name);
        hasher.update_field(value);
    }
}

fn counts(name: &[u8]) -> bool {
    name == b"security.capability"
        || (!name.starts_with(b"security.") && !name.starts_with(b"system."))
}

/// Codes on disk: never to be reused for something else.
fn kind_code(kind: FileKind) -> u8 {
    match kind {
        FileKind::File => 1,
        FileKind::Directory => 2,
        FileKind::Symlink => 3,
        FileKind::Fifo => 4,
        FileKind::CharDevice => 5,
        FileKind::BlockDevice => 6,
        FileKind::Socket => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::default_directory;

    fn digest_with(change: impl FnOnce(&mut Stat)) -> Digest {
        let mut stat = default_directory();
        change(&mut stat);
        header(&stat)
    }

    #[test]
    fn what_counts_and_what_does_not() {
        let plain = digest_with(|_| {});
        let attribute = |name: &str| {
            let name = name.as_bytes().to_vec();
            digest_with(|stat| drop(stat.xattrs.insert(name, b"1".to_vec())))
        };
        for (what, digest, counts) in [
            ("mtime", digest_with(|stat| stat.mtime_ns = 5), false),
            ("nlink", digest_with(|stat| stat.nlink = 5), false),
            ("mode", digest_with(|stat| stat.mode = 0o700), true),
            ("uid", digest_with(|stat| stat.uid = 5), true),
            ("gid", digest_with(|stat| stat.gid = 5), true),
            ("kind", digest_with(|stat| stat.kind = FileKind::File), true),
            ("user attribute", attribute("user.a"), true),
            ("capabilities", attribute("security.capability"), true),
            ("label", attribute("security.selinux"), false),
            ("acl", attribute("system.posix_acl_access"), false),
        ] {
            assert_eq!(digest != plain, counts, "{what}");
        }
    }

    #[test]
    fn names_cannot_flow_into_each_other() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let header = header(&default_directory());
        let one = directory(&header, [(&b"ab"[..], &a), (b"c", &b)].into_iter());
        let two = directory(&header, [(&b"a"[..], &a), (b"bc", &b)].into_iter());
        assert_ne!(one, two);
    }
}
