//! What repositories take, and removing them (rows CTL-09, CTL-13).

use std::collections::HashMap;
use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::SystemTime;

use lamina_snapshotter::size_bytes;
use lamina_types::Digest;
use lamina_types::IoContext;
use lamina_types::PathError;

use super::store::GitRepositories;
use super::store::Note;
use super::store::last_use;

/// One repository of what was fetched of a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitRepositoryUsage {
    /// Names it.
    pub key: Digest,
    /// The remote's address, without credentials; empty if it is not known.
    pub remote: String,
    /// A build works on it now.
    pub in_use: bool,
    /// Bytes on disk, when nobody worked on it.
    pub bytes: u64,
    /// When it was made.
    pub created: SystemTime,
    /// When a build last began to use it.
    pub last_used: SystemTime,
    /// How many builds did.
    pub uses: u64,
}

impl GitRepositories {
    /// Describes all repositories. Blocks: those that were used since they were last counted are
    /// walked.
    #[must_use]
    pub fn usage(&self) -> Vec<GitRepositoryUsage> {
        let entries = fs::read_dir(self.folder()).into_iter().flatten().flatten();
        let described = entries.filter_map(|entry| self.describe(&entry.path()));
        let mut all: Vec<GitRepositoryUsage> = described.collect();
        all.sort_by_key(|repository| repository.key);
        all
    }

    /// `None` for work that is not finished, and for what has just gone.
    fn describe(&self, path: &Path) -> Option<GitRepositoryUsage> {
        let name = path.file_name()?.to_str()?;
        let key: Digest = format!("sha256:{name}").parse().ok()?;
        let metadata = fs::metadata(path).ok()?;
        let last_used = last_use(path).or_else(|_| metadata.modified()).ok()?;
        let in_use = self.0.locks.try_lock(key).is_none();
        let Note { uses, remote } = Note::read(path);
        Some(GitRepositoryUsage {
            key,
            remote,
            in_use,
            bytes: match in_use {
                true => self.counted().get(&key).map_or(0, |(_, bytes)| *bytes),
                false => self.count(key, path, last_used),
            },
            created: metadata.created().unwrap_or(last_used),
            last_used,
            uses,
        })
    }

    fn count(&self, key: Digest, path: &Path, last_used: SystemTime) -> u64 {
        match self.counted().get(&key) {
            Some((until, bytes)) if *until == last_used => return *bytes,
            _ => {}
        }
        let bytes = size(path).unwrap_or_else(|error| {
            tracing::debug!(path = %path.display(), %error, "a repository was not counted");
            0
        });
        self.counted().insert(key, (last_used, bytes));
        bytes
    }

    fn counted(&self) -> MutexGuard<'_, HashMap<Digest, (SystemTime, u64)>> {
        let counted = self.0.counted.lock();
        counted.unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a repository that nobody works on; the next build that needs it fetches again. Says
    /// whether it did. Blocks.
    #[must_use]
    pub fn remove(&self, key: &Digest) -> bool {
        let Some(_alone) = self.0.locks.try_lock(*key) else {
            return false;
        };
        self.counted().remove(key);
        match self.take_away(key) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "a repository is kept");
                false
            }
        }
    }

    /// Moves the repository to where unfinished work is, so that it goes as a whole.
    fn take_away(&self, key: &Digest) -> Result<(), PathError> {
        let (path, scratch) = (self.path_of(key), self.scratch()?);
        fs::rename(&path, scratch.path().join("removed")).at(path.display())
    }
}

fn size(path: &Path) -> io::Result<u64> {
    Ok(size_bytes(File::open(path)?.into())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository with a file of `bytes`, used once.
    fn repository(all: &GitRepositories, remote: &str, bytes: usize) -> Digest {
        let place = all.place(remote, "");
        fs::create_dir_all(&place.path).expect("made");
        fs::write(place.path.join("pack"), vec![1; bytes]).expect("written");
        assert!(place.begin_use());
        let named = all.usage().into_iter().find(|found| found.remote == remote);
        named.expect("described").key
    }

    #[test]
    fn repositories_are_counted_again_after_each_use() {
        let dir = tempfile::tempdir().expect("a folder");
        let all = GitRepositories::new(dir.path().join("git"));
        assert_eq!(all.usage(), []);
        repository(&all, "https://h/a", 100_000);
        drop(all.scratch().expect("made"));
        fs::create_dir(dir.path().join("git/tmp-9")).expect("made");
        let [first] = &all.usage()[..] else {
            panic!("{:?}", all.usage());
        };
        assert!((100_000..200_000).contains(&first.bytes), "{first:?}");
        assert_eq!((first.uses, first.in_use), (1, false));
        let place = all.place("https://h/a", "");
        fs::write(place.path.join("more"), vec![1; 100_000]).expect("written");
        assert_eq!(all.usage()[0].bytes, first.bytes, "nobody used it");
        let used = File::open(place.path.join("lamina-used")).expect("there");
        assert!(place.begin_use());
        let later = first.last_used + std::time::Duration::from_secs(1);
        used.set_modified(later).expect("set");
        let second = &all.usage()[0];
        assert!(second.bytes >= first.bytes + 100_000, "{second:?}");
        assert_eq!((second.uses, second.last_used), (2, later));
    }

    #[test]
    fn what_is_worked_on_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let all = GitRepositories::new(dir.path().join("git"));
        let key = repository(&all, "https://h/a", 1);
        let other = repository(&all, "https://h/b", 1);
        let held = all.0.locks.try_lock(key).expect("free");
        let in_use = |key: &Digest| all.usage().iter().any(|one| one.key == *key && one.in_use);
        assert!(in_use(&key) && !in_use(&other));
        assert!(!all.remove(&key));
        drop(held);
        assert!(all.remove(&key));
        assert!(!all.remove(&key), "it is gone");
        let left = all.usage();
        assert_eq!(left.iter().map(|one| one.key).collect::<Vec<_>>(), [other]);
    }

    #[test]
    fn repositories_of_old_versions_are_described() {
        let dir = tempfile::tempdir().expect("a folder");
        let all = GitRepositories::new(dir.path().join("git"));
        let place = all.place("https://h/a", "");
        fs::create_dir_all(&place.path).expect("made");
        fs::write(place.path.join("lamina-used"), "").expect("written");
        let found = &all.usage()[0];
        assert_eq!((found.uses, found.remote.as_str()), (0, ""));
        assert!(place.begin_use());
        let found = &all.usage()[0];
        assert_eq!((found.uses, found.remote.as_str()), (1, "https://h/a"));
    }
}
