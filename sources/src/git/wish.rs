//! What a build may say of a repository (rows SRC-16 to SRC-26).

use lamina_types::RootedPath;
use lamina_types::without_credentials;
use serde::Deserialize;
use serde::Serialize;

use super::GitError;
use super::refs::is_object_id;
use super::refs::is_safe_name;
use super::remote::Remote;
use crate::SourceError;
use crate::SourceRequest;

/// Which times files get (row SRC-22).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum GitTimes {
    /// When they were checked out.
    #[default]
    Checkout,
    /// When the commit was made.
    Commit,
}

/// What a build wants of a repository. Holds no credentials.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct GitWish {
    /// The address, without credentials.
    pub remote: String,
    /// Branch, tag, full name or commit; empty for the main branch.
    pub reference: String,
    /// A directory of the checkout, without slashes at its ends; empty for all.
    pub subdir: String,
    /// The beginning of the commit that it must be, in lower case; empty for any (row SRC-20).
    pub checksum: String,
    /// Keep `.git` (row SRC-17).
    pub keep_git_dir: bool,
    /// Leave submodules out (row SRC-21).
    pub skip_submodules: bool,
    /// Which times files get.
    pub times: GitTimes,
    /// Fetch the commit itself and never look the name up (row SRC-23).
    pub fetch_by_commit: bool,
    /// Id of the secret with a token (row SRC-18).
    pub token_secret: Option<String>,
    /// Id of the secret with a whole `Authorization`.
    pub header_secret: Option<String>,
    /// Id of the client's agent for ssh (row SRC-19).
    pub ssh_agent: Option<String>,
    /// Keys of hosts, as ssh has them in `known_hosts`.
    pub known_hosts: Option<String>,
}

/// What this version refuses by name, since it would otherwise give something else than was asked.
const UNSUPPORTED: [(&str, &str); 6] = [
    ("git.bundle", "git.bundle is"),
    ("git.checkoutbundle", "git.checkoutbundle is"),
    ("git.sig.pubkey", "signatures (git.sig.pubkey) are"),
    (
        "git.sig.rejectexpired",
        "signatures (git.sig.rejectexpired) are",
    ),
    (
        "git.sig.requiresignedtag",
        "signatures (git.sig.requiresignedtag) are",
    ),
    (
        "git.sig.ignoresignedtag",
        "signatures (git.sig.ignoresignedtag) are",
    ),
];

impl GitWish {
    /// Returns the wish, and where the repository is.
    ///
    /// # Errors
    /// For what makes no sense or is not there yet; the messages show no credentials.
    pub(super) fn parse(request: &SourceRequest) -> Result<(Self, Remote), SourceError> {
        let rest = request.rest()?;
        let (address, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        let remote = Remote::parse(request.get("git.fullurl").unwrap_or(address))?;
        let is_set = |name: &str| request.get(name) == Some("true");
        let text = |name: &str| request.get(name).map(str::to_owned);
        let wish = Self {
            remote: remote.url.clone(),
            reference: reference.to_owned(),
            subdir: clean_path(subdir),
            checksum: request
                .get("git.checksum")
                .unwrap_or_default()
                .to_lowercase(),
            keep_git_dir: is_set("git.keepgitdir"),
            skip_submodules: is_set("git.skipsubmodules"),
            times: times(request)?,
            fetch_by_commit: is_set("git.fetchbycommit"),
            token_secret: text("git.authtokensecret"),
            header_secret: text("git.authheadersecret"),
            ssh_agent: text("git.mountsshsock"),
            known_hosts: text("git.knownsshhosts"),
        };
        wish.refuse_unsupported(request)?;
        wish.check()?;
        Ok((wish, remote))
    }

    fn refuse_unsupported(&self, request: &SourceRequest) -> Result<(), GitError> {
        let asked = |name| request.get(name).is_some_and(|value| value != "false");
        match UNSUPPORTED.iter().find(|(name, _)| asked(name)) {
            Some((_, what)) => Err(GitError::Unsupported {
                remote: self.remote.clone(),
                what,
            }),
            None => Ok(()),
        }
    }

    fn check(&self) -> Result<(), GitError> {
        if !is_safe_name(&self.reference) {
            return Err(GitError::Reference {
                reference: self.reference.clone(),
            });
        }
        if !self.checksum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(GitError::Checksum {
                checksum: self.checksum.clone(),
            });
        }
        Ok(())
    }

    /// Returns the commit, or the annotated tag, if the wish itself says which (rows SRC-16, SRC-23).
    ///
    /// # Errors
    /// [`GitError::WrongCommit`] if it says two things; [`GitError::NoCommit`].
    pub(super) fn stated(&self) -> Result<Option<String>, GitError> {
        if is_object_id(&self.reference) {
            self.expect([self.reference.as_str()])?;
            return Ok(Some(self.reference.clone()));
        }
        if !self.fetch_by_commit {
            return Ok(None);
        }
        let what = match self.checksum.as_str() {
            "" => "a checksum or a commit SHA ref",
            checksum if is_object_id(checksum) => return Ok(Some(checksum.to_owned())),
            _ => "a full commit SHA checksum",
        };
        Err(GitError::NoCommit { what })
    }

    /// Checks that one of the ids is what the build requires (row SRC-20).
    ///
    /// # Errors
    /// [`GitError::WrongCommit`].
    pub(super) fn expect<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), GitError> {
        let ids: Vec<&str> = ids.into_iter().collect();
        if ids.iter().any(|id| id.starts_with(&self.checksum)) {
            return Ok(());
        }
        Err(GitError::WrongCommit {
            wanted: self.checksum.clone(),
            found: ids.join(" or "),
        })
    }

    /// Says whether the result has a `.git`: only a whole checkout can.
    pub(super) fn has_git_dir(&self) -> bool {
        self.keep_git_dir && self.subdir.is_empty()
    }

    /// Returns how the result is described to users.
    pub(super) fn description(&self) -> String {
        let remote = without_credentials(&self.remote);
        format!("git snapshot for {remote}#{}", self.reference)
    }
}

fn times(request: &SourceRequest) -> Result<GitTimes, SourceError> {
    match request.get("git.mtime") {
        None | Some("checkout") => Ok(GitTimes::Checkout),
        Some("commit") => Ok(GitTimes::Commit),
        Some(_) => Err(request.bad_attr("git.mtime", "expected checkout or commit")),
    }
}

/// Resolves `.` and `..` without looking at files; nothing leads above the root.
fn clean_path(text: &str) -> String {
    let path = RootedPath::new(text.as_bytes());
    let text = String::from_utf8_lossy(path.as_bytes());
    text.trim_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    fn request() -> SourceRequest {
        SourceRequest::new("git://h.test/a.git#v1:/x/../y/")
    }

    fn parse(request: &SourceRequest) -> GitWish {
        GitWish::parse(request).expect("fits").0
    }

    #[test]
    fn identifier_and_attributes_are_parsed() {
        let wish = parse(
            &request()
                .attr("git.fullurl", "ssh://git@h.test/a.git")
                .attr("git.checksum", "ABC")
                .attr("git.keepgitdir", "true")
                .attr("git.skipsubmodules", "true")
                .attr("git.mtime", "commit")
                .attr("git.fetchbycommit", "true")
                .attr("git.authtokensecret", "t")
                .attr("git.authheadersecret", "h")
                .attr("git.mountsshsock", "default")
                .attr("git.knownsshhosts", "h.test ssh-ed25519 AAAA"),
        );
        let text = |text: &str| Some(text.to_owned());
        let wanted = GitWish {
            remote: "ssh://git@h.test/a.git".to_owned(),
            reference: "v1".to_owned(),
            subdir: "y".to_owned(),
            checksum: "abc".to_owned(),
            keep_git_dir: true,
            skip_submodules: true,
            times: GitTimes::Commit,
            fetch_by_commit: true,
            token_secret: text("t"),
            header_secret: text("h"),
            ssh_agent: text("default"),
            known_hosts: text("h.test ssh-ed25519 AAAA"),
        };
        assert_eq!(wish, wanted);
        assert_eq!(parse(&request()).remote, "https://h.test/a.git");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (name, value, words) in [
            ("git.mtime", "now", "git.mtime"),
            ("git.checksum", "xyz", "invalid checksum xyz for Git URL"),
            (
                "git.bundle",
                "oci-layout+blob://x",
                "git.bundle is not supported yet",
            ),
            (
                "git.checkoutbundle",
                "true",
                "git.checkoutbundle is not supported yet",
            ),
            (
                "git.sig.pubkey",
                "key",
                "git.sig.pubkey) are not supported yet",
            ),
            ("git.fullurl", "file:///etc", "scheme file is not allowed"),
        ] {
            let error = GitWish::parse(&request().attr(name, value)).expect_err(name);
            assert!(error.to_string().contains(words), "{error}");
        }
        let bad = SourceRequest::new("git://h.test/a.git#--upload-pack=x");
        let error = GitWish::parse(&bad).expect_err("refused").to_string();
        assert_eq!(error, "invalid git ref \"--upload-pack=x\"");
    }

    #[test]
    fn a_wish_may_state_its_commit() {
        let stated = |text: &str, attrs: &[(&str, &str)]| {
            let mut request = SourceRequest::new(text);
            for (name, value) in attrs {
                request = request.attr(name, value);
            }
            parse(&request).stated().map_err(|error| error.to_string())
        };
        let by_ref = format!("git://h/a.git#{COMMIT}");
        let commit = Ok(Some(COMMIT.to_owned()));
        assert_eq!(stated(&by_ref, &[]), commit);
        assert_eq!(stated(&by_ref, &[("git.checksum", "0123")]), commit);
        let wrong = format!("expected checksum to match 1, got {COMMIT}");
        assert_eq!(stated(&by_ref, &[("git.checksum", "1")]), Err(wrong));
        let direct = ("git.fetchbycommit", "true");
        assert_eq!(
            stated("git://h/a.git#x", &[direct, ("git.checksum", COMMIT)]),
            commit
        );
        assert_eq!(
            stated("git://h/a.git#x", &[("git.checksum", COMMIT)]),
            Ok(None)
        );
        for checksum in ["", "0123"] {
            let refused = stated("git://h/a.git", &[direct, ("git.checksum", checksum)]);
            let text = refused.expect_err("no commit");
            assert!(text.starts_with("fetch-by-commit requires a"), "{text}");
        }
    }
}
