//! Bringing one commit into the repository of its remote.
//!
//! As little as possible is fetched: nothing if the commit is there, else only that commit without
//! its history. Where a server gives no single commits, or knows nothing of depth, the rest is.

use std::path::Path;

use lamina_types::Digest;

use super::GitError;
use super::PinnedGit;
use super::program::CallError;
use super::program::Git;
use super::refs;
use super::store::is_sha256;
use crate::SourceError;

const FETCH: &str = "fetch remote";

/// Names under which fetched objects are held, so that they stay and later fetches build on them.
/// They are flat: a branch `a` and, later, a branch `a/b` are not in each other's way.
const HELD: &str = "refs/lamina/held/";
/// Tags for a kept `.git`.
const TAGS: &str = "refs/lamina/tags/";

/// Everything that a server has a name for.
const ALL: [&str; 2] = [
    "+refs/heads/*:refs/lamina/all/heads/*",
    "+refs/tags/*:refs/lamina/all/tags/*",
];

/// What servers and transports say that cannot leave history out.
const NO_DEPTH: [&str; 2] = ["--depth", "shallow"];

/// One commit and where it goes.
pub(super) struct Fetch<'a> {
    pub(super) git: &'a Git,
    pub(super) repository: &'a Path,
    pub(super) pinned: &'a PinnedGit,
}

/// What was fetched.
pub(super) struct Fetched {
    /// The commit, also if the object is a tag.
    pub(super) commit: String,
    /// The name in the repository that holds the object.
    pub(super) held: String,
    /// Full names of tags that mean the same commit, held by [`held_tag`].
    pub(super) tags: Vec<String>,
}

/// Makes an empty repository.
///
/// # Errors
/// [`GitError::Failed`], I/O errors, cancellation.
pub(super) async fn init(
    git: &Git,
    repository: &Path,
    pinned: &PinnedGit,
) -> Result<(), SourceError> {
    let wish = &pinned.wish;
    let failed = |error: CallError| error.during("prepare a repository for", &wish.remote, "");
    let format = if is_sha256(&pinned.object) {
        "sha256"
    } else {
        "sha1"
    };
    let format = format!("--object-format={format}");
    let init = git
        .call(["init", "--quiet", "--bare", &format])
        .args([repository]);
    init.run().await.map_err(failed)?;
    // Without a rule for branches of the remote, git makes no names but those that are asked for.
    let set = git
        .call(["config", "remote.origin.url", &wish.remote])
        .on(repository);
    set.run().await.map(drop).map_err(failed)
}

impl Fetch<'_> {
    /// Makes sure that the object is in the repository.
    ///
    /// # Errors
    /// [`GitError::Failed`] with what git said; [`GitError::NotThere`], [`GitError::WrongCommit`].
    pub(super) async fn run(&self) -> Result<Fetched, SourceError> {
        let object = &self.pinned.object;
        if !self.has(object).await? {
            self.bring().await?;
        }
        let held = self.held();
        self.call(["update-ref", &held, object]).await?;
        let commit = self
            .call(["rev-parse", "--verify", &format!("{object}^{{commit}}")])
            .await?;
        let commit = commit.trim().to_owned();
        self.pinned.wish.expect([object.as_str(), &commit])?;
        let tags = self.bring_tags(&commit).await?;
        Ok(Fetched { commit, held, tags })
    }

    fn held(&self) -> String {
        let name = Digest::of(self.pinned.reference.as_bytes());
        format!("{HELD}{}", name.hex())
    }

    /// Says whether the object is here and means a commit.
    async fn has(&self, object: &str) -> Result<bool, SourceError> {
        let commit = format!("{object}^{{commit}}");
        let look = self
            .git
            .call(["cat-file", "-e", &commit])
            .on(self.repository)
            .quietly();
        match look.run().await {
            Ok(_) => Ok(true),
            Err(error) if error.is_refusal() => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn bring(&self) -> Result<(), SourceError> {
        let (wish, object) = (&self.pinned.wish, &self.pinned.object);
        let name = &self.pinned.reference;
        if name != object && !wish.fetch_by_commit {
            self.shallow(name)
                .await
                .map_err(|error| self.failed(error))?;
            // Unless it has moved on meanwhile.
            if self.has(object).await? {
                return Ok(());
            }
        }
        match self.shallow(object).await {
            Ok(()) => {}
            Err(error) if error.is_refusal() && !wish.fetch_by_commit => self.all().await?,
            Err(error) => return Err(self.failed(error)),
        }
        if self.has(object).await? {
            return Ok(());
        }
        Err(self.not_there().into())
    }

    fn not_there(&self) -> GitError {
        GitError::NotThere {
            remote: self.pinned.wish.remote.clone(),
            reference: format!("commit {}", self.pinned.object),
        }
    }

    /// Fetches what `source` names, without its history if that can be had.
    async fn shallow(&self, source: &str) -> Result<(), CallError> {
        let spec = format!("+{source}:{}", self.held());
        match self.fetch(&["--depth=1", "origin", &spec]).await {
            Err(error) if error.says(&NO_DEPTH) => self.fetch(&["origin", &spec]).await,
            done => done,
        }
    }

    /// Fetches all branches and tags with their history.
    async fn all(&self) -> Result<(), SourceError> {
        let mut args = vec!["--prune"];
        if self.repository.join("shallow").exists() {
            args.push("--unshallow");
        }
        args.push("origin");
        args.extend(ALL);
        self.fetch(&args).await.map_err(|error| self.failed(error))
    }

    async fn fetch(&self, args: &[&str]) -> Result<(), CallError> {
        let common = ["fetch", "--progress", "--no-tags", "--no-write-fetch-head"];
        let args = common.iter().chain(args);
        self.git
            .call(args)
            .on(self.repository)
            .run()
            .await
            .map(drop)
    }

    /// A kept `.git` of a commit shows the tags that it has, as one of a tag does (row SRC-17).
    async fn bring_tags(&self, commit: &str) -> Result<Vec<String>, SourceError> {
        let wish = &self.pinned.wish;
        let is_named = self.pinned.reference != self.pinned.object;
        if !wish.has_git_dir() || is_named || wish.fetch_by_commit {
            return Ok(Vec::new());
        }
        let listed = self.call(["ls-remote", "--tags", "origin"]).await?;
        let tags = refs::tags_of(&listed, commit);
        if tags.is_empty() {
            return Ok(tags);
        }
        let specs: Vec<String> = tags
            .iter()
            .map(|tag| format!("+{tag}:{}", held_tag(tag)))
            .collect();
        let mut args = vec!["--depth=1", "origin"];
        args.extend(specs.iter().map(String::as_str));
        match self.fetch(&args).await {
            Err(error) if error.says(&NO_DEPTH) => self.fetch(&args[1..]).await,
            done => done,
        }
        .map_err(|error| self.failed(error))?;
        Ok(tags)
    }

    async fn call<const N: usize>(&self, args: [&str; N]) -> Result<String, SourceError> {
        let out = self.git.call(args).on(self.repository).run().await;
        let out = out.map_err(|error| self.failed(error))?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    fn failed(&self, error: CallError) -> SourceError {
        error.during(FETCH, &self.pinned.wish.remote, &self.pinned.reference)
    }
}

/// Returns the name in the repository for a tag's full name.
pub(super) fn held_tag(tag: &str) -> String {
    format!("{TAGS}{}", Digest::of(tag.as_bytes()).hex())
}
