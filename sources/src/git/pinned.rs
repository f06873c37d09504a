//! What a build's wish came to (row SRC-26).

use lamina_types::Digest;
use lamina_types::Sha256Hasher;
use serde::Deserialize;
use serde::Serialize;

use super::GitTimes;
use super::GitWish;

/// A commit that a repository has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PinnedGit {
    /// What the build wants.
    pub wish: GitWish,
    /// The full name, or the commit if the build names no other.
    pub reference: String,
    /// The object that the name points to: a commit, or an annotated tag.
    pub object: String,
    /// The commit, if the object is known to be an annotated tag.
    pub commit: Option<String>,
    /// `Authorization` from the address; not stored, and not shown.
    #[serde(skip)]
    pub(super) login: Login,
}

/// Credentials of an address. Say nothing of what was pinned, so all are equal.
#[derive(Clone, Default)]
pub(super) struct Login(pub(super) Option<String>);

impl PartialEq for Login {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Login {}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login")
    }
}

impl PinnedGit {
    /// The same commit in the same form has the same key, whatever it was called by and whichever
    /// remote it is from (row SRC-26). A kept `.git` shows both, so there they count.
    pub(super) fn cache_key(&self) -> Digest {
        let wish = &self.wish;
        let mut key = Sha256Hasher::new();
        key.update_field(b"git source");
        if wish.has_git_dir() {
            for text in [&self.object, &self.reference, &wish.remote] {
                key.update_field(text.as_bytes());
            }
        } else {
            key.update_field(self.commit.as_ref().unwrap_or(&self.object).as_bytes());
        }
        key.update_field(wish.subdir.as_bytes());
        let times = u8::from(wish.times == GitTimes::Commit);
        key.update(&[u8::from(wish.skip_submodules), times]);
        key.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    #[test]
    fn keys_tell_results_apart() {
        let key = |change: fn(&mut PinnedGit)| {
            let mut pinned = PinnedGit {
                wish: GitWish {
                    remote: "https://h/a".to_owned(),
                    ..GitWish::default()
                },
                reference: "refs/tags/v1".to_owned(),
                object: "tag".to_owned(),
                commit: Some(COMMIT.to_owned()),
                login: Login::default(),
            };
            change(&mut pinned);
            pinned.cache_key()
        };
        let plain = key(|_| {});
        assert_eq!(
            plain,
            key(|pinned| pinned.reference = "refs/heads/x".to_owned())
        );
        assert_eq!(
            plain,
            key(|pinned| pinned.wish.remote = "https://i/a".to_owned())
        );
        let kept = key(|pinned| pinned.wish.keep_git_dir = true);
        for other in [
            kept,
            key(|pinned| pinned.commit = None),
            key(|pinned| pinned.wish.subdir = "x".to_owned()),
            key(|pinned| pinned.wish.skip_submodules = true),
            key(|pinned| pinned.wish.times = GitTimes::Commit),
        ] {
            assert_ne!(plain, other);
        }
        let renamed = key(|pinned| {
            pinned.wish.keep_git_dir = true;
            pinned.reference = "refs/tags/v2".to_owned();
        });
        assert_ne!(kept, renamed);
    }
}
