//! Why a repository gave nothing.

/// A source from git could not be resolved or checked out.
///
/// Remotes are shown without credentials, and what git said without the secrets that it was given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// The program cannot be started.
    #[error("git cannot be run ({reason}): install the package git where the builds run")]
    Missing {
        /// What the system says.
        reason: String,
    },
    /// The program is older than what this version relies on.
    #[error("git {found} is too old: {needed} or newer is needed")]
    TooOld {
        /// What is installed, as it says itself.
        found: String,
        /// The oldest version that will do.
        needed: &'static str,
    },
    /// The address of no repository.
    #[error("invalid address of a git repository {address:?}: {reason}")]
    Address {
        /// What was given, without credentials.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that git could take for something else (row SRC-16).
    #[error("invalid git ref {reference:?}")]
    Reference {
        /// What was given.
        reference: String,
    },
    /// A checksum of other characters than hex digits (row SRC-20).
    #[error("invalid checksum {checksum} for Git URL, expected hex commit hash")]
    Checksum {
        /// What was given.
        checksum: String,
    },
    /// Another commit than the build requires (row SRC-20).
    #[error("expected checksum to match {wanted}, got {found}")]
    WrongCommit {
        /// What the build requires.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// Fetching by commit without a commit (row SRC-23).
    #[error("fetch-by-commit requires {what}")]
    NoCommit {
        /// What is missing.
        what: &'static str,
    },
    /// A combination that this version does not have.
    #[error("{remote}: {what} not supported yet")]
    Unsupported {
        /// The repository.
        remote: String,
        /// The attribute, with its verb.
        what: &'static str,
    },
    /// Nothing has that name.
    #[error("repository {remote} does not contain {reference}")]
    NotThere {
        /// The repository.
        remote: String,
        /// What was looked for, with its kind.
        reference: String,
    },
    /// The repository says of no branch that it is the main one.
    #[error("could not find default branch for repository: {remote}")]
    NoDefaultBranch {
        /// The repository.
        remote: String,
    },
    /// Git failed.
    #[error("failed to {action} {remote}{}: {reason}", at(reference))]
    Failed {
        /// What was being done.
        action: &'static str,
        /// The repository.
        remote: String,
        /// What of it; empty where that does not matter.
        reference: String,
        /// Git's own last words.
        reason: String,
    },
    /// The directory that a build wants of a checkout (row SRC-16).
    #[error("invalid subdir {subdir:?} of {remote}: {reason}")]
    Subdir {
        /// What was given.
        subdir: String,
        /// The repository.
        remote: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A secret is there, but cannot be sent (row SRC-18).
    #[error("failed to use git auth secret {id}: {reason}")]
    Secret {
        /// Its id.
        id: String,
        /// Why not.
        reason: &'static str,
    },
    /// The client forwards no agent of that id (row SRC-19).
    #[error("no SSH key {id:?} forwarded from the client: {reason}")]
    Agent {
        /// The id.
        id: String,
        /// What the client said.
        reason: String,
    },
}

fn at(reference: &str) -> String {
    if reference.is_empty() {
        return String::new();
    }
    format!(" at {reference}")
}
