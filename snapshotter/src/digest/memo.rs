//! The digests that a layer remembers: `layers/<id>/digests`.
//!
//! ```text
//! "LAMINADG" version:u32 = 1
//! inode:u64 of fs/   change time of fs/: seconds:i64 nanoseconds:u32
//! (inode:u64 digest:32)*
//! sha256 of all before
//! ```
//!
//! Inode numbers mean nothing in a copied state folder, so the file names the `fs` directory by its
//! inode and change time, which no copy keeps; a file that does not fit, or is torn, counts as empty.
//! Nothing is lost but time.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lamina_types::Digest;

use crate::fdio;
use crate::store::files;

const FILE: &str = "digests";

const MAGIC: &[u8; 8] = b"LAMINADG";

const VERSION: u32 = 1;

const RECORD_BYTES: usize = 40;

/// Digests of one layer by inode: of files, and of directories with all below them.
#[derive(Default)]
pub(crate) struct Memo(Mutex<State>);

#[derive(Default)]
struct State {
    loaded: bool,
    known: HashMap<u64, Digest>,
    changed: bool,
}

impl Memo {
    /// Knows what was computed while a layer was made, and nothing else.
    pub(crate) fn knowing(known: HashMap<u64, Digest>) -> Self {
        Self(Mutex::new(State {
            loaded: true,
            changed: !known.is_empty(),
            known,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file in the layer's folder, at the first call.
    pub(crate) fn load(&self, folder: impl FnOnce() -> Option<OwnedFd>) {
        let mut state = self.lock();
        if !state.loaded {
            state.loaded = true;
            state.known = folder()
                .and_then(|folder| read(&folder))
                .unwrap_or_default();
        }
    }

    pub(crate) fn get(&self, inode: u64) -> Option<Digest> {
        self.lock().known.get(&inode).copied()
    }

    pub(crate) fn put(&self, inode: u64, digest: Digest) {
        let mut state = self.lock();
        state.changed |= state.known.insert(inode, digest) != Some(digest);
    }

    /// Writes what is new; a failure costs the next process the time to compute it again.
    pub(crate) fn save(&self, folder: impl FnOnce() -> Option<OwnedFd>) {
        let mut state = self.lock();
        if std::mem::take(&mut state.changed)
            && let Some(folder) = folder()
            && let Some(text) = encode(&folder, &state.known)
            && let Err(error) = files::replace(&folder, FILE, &text)
        {
            tracing::debug!(%error, "cannot keep content digests");
        }
    }
}

/// Returns the bytes that tie the file to this very directory.
fn header(folder: &OwnedFd) -> Option<Vec<u8>> {
    let fs = fdio::stat_at(folder, b"fs").ok()??;
    let (seconds, nanoseconds) = fs.ctime();
    let mut header = MAGIC.to_vec();
    header.extend(VERSION.to_le_bytes());
    header.extend(fs.inode().to_le_bytes());
    header.extend(seconds.to_le_bytes());
    header.extend(nanoseconds.to_le_bytes());
    Some(header)
}

fn encode(folder: &OwnedFd, known: &HashMap<u64, Digest>) -> Option<Vec<u8>> {
    let mut text = header(folder)?;
    for (inode, digest) in known {
        text.extend(inode.to_le_bytes());
        text.extend(digest.as_bytes());
    }
    text.extend(Digest::of(&text).as_bytes());
    Some(text)
}

fn read(folder: &OwnedFd) -> Option<HashMap<u64, Digest>> {
    let text = files::read(folder, FILE.as_bytes()).ok()?;
    let header = header(folder)?;
    let (body, checksum) = text.split_last_chunk::<32>()?;
    if Digest::of(body).as_bytes() != checksum {
        return None;
    }
    let records = body.strip_prefix(header.as_slice())?;
    let (records, rest) = records.as_chunks::<RECORD_BYTES>();
    rest.is_empty()
        .then(|| records.iter().map(decode).collect())
}

fn decode(record: &[u8; RECORD_BYTES]) -> (u64, Digest) {
    let mut inode = [0; 8];
    let mut digest = [0; 32];
    inode.copy_from_slice(&record[..8]);
    digest.copy_from_slice(&record[8..]);
    (u64::from_le_bytes(inode), Digest::from_bytes(digest))
}
