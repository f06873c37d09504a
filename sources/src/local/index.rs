//! What is remembered of the last transfer.
//!
//! One file per source, named by the key of the transfer. Everything is little endian:
//!
//! ```text
//! 16 bytes  "lamina local 1\n\0"
//!  8        id of the layer
//!  8        number of entries
//! entries:
//!  4        length of the path, then the path
//!  1        kind: 0 file, 1 directory, 2 symlink, 3 fifo, 4 character device, 5 block device
//!  1        1 = trusted, see below
//!  4 x 3    mode, uid, gid
//!  8        size
//! 16 x 2    mtime, ctime in nanoseconds since 1970, signed
//!  8 x 2    device, inode
//!  4 x 3    number of links, major, minor
//! 32 bytes  sha256 of all before
//! ```
//! An entry is *trusted* if its file cannot have changed since without a trace: it did not change
//! while it was copied, and its last change was over before the transfer began. A file that is
//! missing, damaged or of another version only makes the next transfer a full one.
//!
//! Of what a remote client sent, `ctime` is 0, the number of links 1, and `device` and `inode`, which
//! say nothing here, hold the first 16 bytes of a digest of what else has to be the same: the target
//! of a symlink, the first name of a hard link, the extended attributes; 0 if there is none of them.

use std::fs;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use lamina_types::Digest;
use lamina_types::FileKind;
use lamina_types::IoContext;
use lamina_types::LayerId;
use lamina_types::PathError;

use lamina_session::host::Fingerprint;
use lamina_session::host::HostEntry;

const MAGIC: &[u8; 16] = b"lamina local 1\n\0";

const KINDS: [FileKind; 6] = [
    FileKind::File,
    FileKind::Directory,
    FileKind::Symlink,
    FileKind::Fifo,
    FileKind::CharDevice,
    FileKind::BlockDevice,
];

/// The folder of the indexes.
#[derive(Clone)]
pub(super) struct IndexFolder(PathBuf);

/// The place of one index.
#[derive(Clone)]
pub(super) struct IndexFile(PathBuf);

/// The last transfer: a layer, and what it was made of in path order.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Index {
    pub(super) layer: LayerId,
    pub(super) entries: Vec<IndexEntry>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct IndexEntry {
    pub(super) entry: HostEntry,
    pub(super) trusted: bool,
}

impl IndexFolder {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn file(&self, key: &Digest) -> IndexFile {
        IndexFile(self.0.join(key.hex()))
    }

    /// Returns the layers that the indexes name.
    pub(super) fn layers(&self) -> Vec<LayerId> {
        let Ok(files) = fs::read_dir(&self.0) else {
            return Vec::new();
        };
        files
            .filter_map(|file| IndexFile(file.ok()?.path()).load())
            .map(|index| index.layer)
            .collect()
    }
}

impl IndexFile {
    /// Returns what is remembered; `None` if nothing, or nothing usable.
    pub(super) fn load(&self) -> Option<Index> {
        decode(&fs::read(&self.0).ok()?)
    }

    /// Replaces what is remembered. A crash leaves the old index, or none.
    pub(super) fn save(&self, index: &Index) -> Result<(), PathError> {
        let folder = self.0.parent().unwrap_or(Path::new("/"));
        fs::DirBuilder::new()
            .recursive(true)
            .create(folder)
            .at(folder.display())?;
        let temporary = self.0.with_extension("new");
        write(&temporary, &encode(index)).at(temporary.display())?;
        fs::rename(&temporary, &self.0).at(self.0.display())
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::File::create(path)?.write_all(bytes)
}

fn encode(index: &Index) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + index.entries.len() * 160);
    out.extend_from_slice(MAGIC);
    out.extend(index.layer.0.to_le_bytes());
    out.extend((index.entries.len() as u64).to_le_bytes());
    for IndexEntry { entry, trusted } in &index.entries {
        let found = &entry.fingerprint;
        let length = u32::try_from(entry.path.len()).unwrap_or(u32::MAX);
        out.extend(length.to_le_bytes());
        out.extend_from_slice(&entry.path);
        let kind = KINDS.iter().position(|kind| *kind == found.kind);
        out.push(
            kind.and_then(|kind| u8::try_from(kind).ok())
                .unwrap_or(u8::MAX),
        );
        out.push(u8::from(*trusted));
        for number in [found.mode, found.uid, found.gid] {
            out.extend(number.to_le_bytes());
        }
        out.extend(found.size.to_le_bytes());
        out.extend(found.mtime_ns.to_le_bytes());
        out.extend(found.ctime_ns.to_le_bytes());
        out.extend(found.device.to_le_bytes());
        out.extend(found.inode.to_le_bytes());
        for number in [found.links, found.node.0, found.node.1] {
            out.extend(number.to_le_bytes());
        }
    }
    let digest = Digest::of(&out);
    out.extend_from_slice(digest.as_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<Index> {
    let (body, digest) = bytes.split_last_chunk::<32>()?;
    if Digest::of(body).as_bytes() != digest {
        return None;
    }
    let mut input = Reader(body);
    if input.array::<16>()? != *MAGIC {
        return None;
    }
    let layer = LayerId(input.u64()?);
    let count = usize::try_from(input.u64()?).ok()?;
    // The digest was right, but memory is only taken for what is really there.
    let mut entries = Vec::with_capacity(count.min(body.len() / 100));
    for _ in 0..count {
        entries.push(input.entry()?);
    }
    Some(Index { layer, entries })
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i128(&mut self) -> Option<i128> {
        self.array().map(i128::from_le_bytes)
    }

    fn bytes(&mut self, length: usize) -> Option<Vec<u8>> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes.to_vec())
    }

    fn entry(&mut self) -> Option<IndexEntry> {
        let length = usize::try_from(self.u32()?).ok()?;
        let path = self.bytes(length)?;
        let [kind, trusted] = self.array()?;
        let fingerprint = Fingerprint {
            kind: *KINDS.get(usize::from(kind))?,
            mode: self.u32()?,
            uid: self.u32()?,
            gid: self.u32()?,
            size: self.u64()?,
            mtime_ns: self.i128()?,
            ctime_ns: self.i128()?,
            device: self.u64()?,
            inode: self.u64()?,
            links: self.u32()?,
            node: (self.u32()?, self.u32()?),
        };
        Some(IndexEntry {
            entry: HostEntry { path, fingerprint },
            trusted: trusted == 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Index {
        let entry = |path: &[u8], kind, trusted| IndexEntry {
            entry: HostEntry {
                path: path.to_vec(),
                fingerprint: Fingerprint {
                    kind,
                    mode: 0o644,
                    uid: 1,
                    gid: 2,
                    size: 3,
                    mtime_ns: -4,
                    ctime_ns: 5 << 70,
                    device: 6,
                    inode: 7,
                    links: 8,
                    node: (9, 10),
                },
            },
            trusted,
        };
        Index {
            layer: LayerId(42),
            entries: vec![
                entry(b"a", FileKind::Directory, true),
                entry(b"a/\xff\n", FileKind::File, false),
                entry(b"b", FileKind::BlockDevice, true),
            ],
        }
    }

    #[test]
    fn indexes_round_trip() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = IndexFolder::new(dir.path().join("deep/local"));
        let file = folder.file(&Digest::of(b"key"));
        assert_eq!(file.load(), None);
        file.save(&sample()).expect("saved");
        assert_eq!(file.load(), Some(sample()));
        assert_eq!(folder.layers(), [LayerId(42)]);
    }

    #[test]
    fn damage_is_noticed_everywhere() {
        let good = encode(&sample());
        assert!(decode(&good).is_some());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), None, "byte {at}");
            assert_eq!(decode(&good[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_huge_count_takes_no_memory() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0; 8]);
        bytes.extend(u64::MAX.to_le_bytes());
        let digest = Digest::of(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        assert_eq!(decode(&bytes), None);
    }
}
