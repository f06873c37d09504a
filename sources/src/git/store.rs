//! GitRepositories on disk.
//!
//! ```text
//! sources/git/
//!   <key>/          a bare repository: what was fetched of one remote
//!   tmp-<number>/   work that is not finished, or was not when the last process ended
//! ```
//!
//! A repository gets its name when its first fetch has succeeded, and is replaced as a whole if it
//! turns out to be damaged. One that no build has used for long is removed. Losing one costs fetching
//! again.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::Once;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use lamina_types::Digest;
use lamina_types::IoContext;
use lamina_types::PathError;
use lamina_types::Sha256Hasher;
use tokio::sync::OwnedMutexGuard;

use crate::keyed::KeyedLocks;

const UNFINISHED: &str = "tmp-";

/// Written in a repository by every build that uses it; its time is that of the use.
const USED: &str = "lamina-used";
/// What git holds while it changes a repository as a whole.
const LOCKS: [&str; 4] = [
    "shallow.lock",
    "packed-refs.lock",
    "HEAD.lock",
    "config.lock",
];
/// A repository that was not used for so long is removed when the next process begins.
const MAX_IDLE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The repositories of one engine. Clones share them.
#[derive(Clone)]
pub struct GitRepositories(pub(super) Arc<Inner>);

pub(super) struct Inner {
    folder: PathBuf,
    pub(super) locks: KeyedLocks<Digest>,
    swept: Once,
    next: AtomicU64,
    /// What was counted of each, and the time of its last use until then.
    pub(super) counted: Mutex<HashMap<Digest, (SystemTime, u64)>>,
}

impl GitRepositories {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(Arc::new(Inner {
            folder,
            locks: KeyedLocks::default(),
            swept: Once::new(),
            next: AtomicU64::new(0),
            counted: Mutex::default(),
        }))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// Returns where the repository of a remote is, if it is there; objects of other formats have
    /// another one.
    pub(super) fn place(&self, remote: &str, object: &str) -> Place {
        let mut key = Sha256Hasher::new();
        key.update_field(remote.as_bytes());
        key.update(&[u8::from(is_sha256(object))]);
        let key = key.finish();
        Place {
            path: self.path_of(&key),
            key,
            remote: remote.to_owned(),
        }
    }

    pub(super) fn path_of(&self, key: &Digest) -> PathBuf {
        self.0.folder.join(key.hex())
    }

    /// Waits until nobody else works on the repository.
    pub(super) async fn lock(&self, place: &Place) -> OwnedMutexGuard<()> {
        self.0.locks.lock(place.key).await
    }

    /// Makes an empty folder for work, which is deleted when it is dropped. The first one removes
    /// what an earlier process left.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn scratch(&self) -> Result<Scratch, PathError> {
        let folder = &self.0.folder;
        fs::DirBuilder::new()
            .recursive(true)
            .create(folder)
            .at(folder.display())?;
        self.0.swept.call_once(|| self.sweep());
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{UNFINISHED}{number}"));
        // Sockets of agents are in it.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .at(path.display())?;
        Ok(Scratch(path))
    }

    fn sweep(&self) {
        let entries = fs::read_dir(&self.0.folder).into_iter().flatten().flatten();
        for entry in entries {
            let path = entry.path();
            let unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
            if unfinished || is_forgotten(&path) {
                remove(&path);
            }
        }
    }
}

/// What says nothing of its age stays.
fn is_forgotten(repository: &Path) -> bool {
    let idle = last_use(repository).map(|used| used.elapsed());
    matches!(idle, Ok(Ok(idle)) if idle > MAX_IDLE)
}

/// Returns when a build last used a repository.
pub(super) fn last_use(repository: &Path) -> io::Result<SystemTime> {
    fs::metadata(repository.join(USED))?.modified()
}

/// What a repository says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Note {
    /// How many builds have used it.
    pub(super) uses: u64,
    /// The remote's address.
    pub(super) remote: String,
}

impl Note {
    /// Returns what is known: after a crash, and of repositories of old versions, that may be nothing.
    pub(super) fn read(repository: &Path) -> Self {
        let text = fs::read_to_string(repository.join(USED)).unwrap_or_default();
        let (uses, remote) = text.split_once('\n').unwrap_or_default();
        Self {
            uses: uses.parse().unwrap_or(0),
            remote: remote.trim_end().to_owned(),
        }
    }

    fn write(&self, repository: &Path) -> io::Result<()> {
        let text = format!("{}\n{}\n", self.uses, self.remote);
        fs::write(repository.join(USED), text)
    }
}

/// Says whether an id is one of the newer format of repositories.
pub(super) fn is_sha256(object: &str) -> bool {
    object.len() == 64
}

/// Where the repository of one remote is.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    key: Digest,
    remote: String,
}

impl Place {
    /// Notes that the repository is in use, if it is there; says whether it is. Clears what a process
    /// that was killed has locked: nobody else works on it.
    pub(super) fn begin_use(&self) -> bool {
        let is_there = self.path.exists();
        for lock in LOCKS {
            // Most of the time there is none.
            drop(fs::remove_file(self.path.join(lock)));
        }
        if is_there && let Err(error) = self.note_use() {
            tracing::debug!(path = %self.path.display(), %error, "a use is not noted");
        }
        is_there
    }

    fn note_use(&self) -> io::Result<()> {
        let note = Note {
            uses: Note::read(&self.path).uses.saturating_add(1),
            remote: self.remote.clone(),
        };
        note.write(&self.path)
    }

    /// Puts `fresh` here, instead of what was here.
    ///
    /// # Errors
    /// I/O errors; `fresh` stays where it is then.
    pub(super) fn replace(&self, fresh: &Path) -> Result<(), PathError> {
        if self.path.exists() {
            let old = fresh.with_extension("old");
            fs::rename(&self.path, &old).at(self.path.display())?;
        }
        fs::rename(fresh, &self.path).at(self.path.display())?;
        self.begin_use();
        Ok(())
    }
}

/// A folder that is deleted when it is dropped.
#[must_use]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "work of git is left behind");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_work_is_swept_and_repositories_stay() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("git");
        let place = GitRepositories::new(folder.clone()).place("https://h/a", "");
        fs::create_dir_all(&place.path).expect("made");
        fs::create_dir_all(folder.join("tmp-0/x")).expect("made");
        let store = GitRepositories::new(folder.clone());
        let scratch = store.scratch().expect("made");
        assert!(!folder.join("tmp-0/x").exists());
        assert!(place.path.exists());
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn repositories_that_nobody_uses_are_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = GitRepositories::new(dir.path().join("git"));
        let [new, old] = ["https://h/a", "https://h/b"].map(|remote| store.place(remote, ""));
        for (place, age) in [(&new, MAX_IDLE / 2), (&old, MAX_IDLE * 2)] {
            fs::create_dir_all(&place.path).expect("made");
            assert!(place.begin_use());
            let used = fs::File::open(place.path.join(USED)).expect("there");
            used.set_modified(SystemTime::now() - age).expect("set");
        }
        drop(store.scratch().expect("made"));
        assert_eq!((new.path.exists(), old.path.exists()), (true, false));
    }

    #[test]
    fn a_repository_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = GitRepositories::new(dir.path().join("git"));
        let place = store.place("https://h/a", "");
        for content in ["1", "2"] {
            let scratch = store.scratch().expect("made");
            let fresh = scratch.path().join("fresh");
            fs::create_dir(&fresh).expect("made");
            fs::write(fresh.join("content"), content).expect("written");
            place.replace(&fresh).expect("put");
            let found = fs::read_to_string(place.path.join("content")).expect("there");
            assert_eq!(found, content);
        }
        assert_ne!(place.key, store.place("https://h/a", &"0".repeat(64)).key);
    }
}
