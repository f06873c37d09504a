//! Addresses of git repositories.

use crate::instructions::parse_bool;
use crate::quote::quoted;

/// A repository, what of it, and how.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GitRef {
    /// The address for git.
    pub remote: String,
    /// The host, with user and port where given.
    pub host: String,
    /// The path on the host.
    pub path: String,
    /// Reached through ssh.
    pub is_ssh: bool,
    /// Branch, tag or commit; empty for the default branch.
    pub reference: String,
    /// The commit that it must be; empty if any.
    pub checksum: String,
    /// A directory of the checkout; empty for all.
    pub subdir: String,
    /// Keep `.git`.
    pub keep_git_dir: Option<bool>,
    /// Check submodules out.
    pub submodules: Option<bool>,
    /// Which times files get: empty, `checkout` or `commit`.
    pub mtime: String,
    /// Fetch the commit itself instead of looking the reference up.
    pub fetch_by_commit: bool,
}

/// Says why a git address is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the messages quote")]
pub enum GitRefError {
    /// A query that has no meaning.
    #[error("unexpected query {}", quoted(.key))]
    UnexpectedQuery { key: String },
    /// A query without a value.
    #[error("query {} has no value", quoted(.key))]
    QueryWithoutValue { key: String },
    /// A query twice.
    #[error("query {} has multiple values", quoted(.key))]
    RepeatedQuery { key: String },
    /// Two different values for the same thing.
    #[error("{what} conflicts: {} vs {}", quoted(.first), quoted(.second))]
    Conflict {
        what: &'static str,
        first: String,
        second: String,
    },
    /// Branch and tag at once.
    #[error("branch conflicts with tag")]
    BranchAndTag,
    /// A truth value.
    #[error("invalid {key} value: {}", quoted(.value))]
    NotBoolean { key: String, value: String },
    /// `mtime`.
    #[error("invalid mtime value: {} (must be \"checkout\" or \"commit\")", quoted(.value))]
    Mtime { value: String },
}

impl GitRef {
    /// Reads `text` as an address of a repository; `None` if it is something else.
    ///
    /// Those are `git://`, `ssh://` and `user@host:path` addresses, and `http(s)://` ones whose
    /// path ends in `.git`.
    ///
    /// # Errors
    /// If it is one, but its query is wrong.
    pub fn parse(text: &str) -> Result<Option<Self>, GitRefError> {
        let (address, fragment) = match text.split_once('#') {
            Some((address, fragment)) => (address, fragment),
            None => (text, ""),
        };
        let (address, query) = match address.split_once('?') {
            Some((address, query)) => (address, query),
            None => (address, ""),
        };
        let Some(mut git) = url(address).or_else(|| scp_style(address)) else {
            return Ok(None);
        };
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        git.reference = reference.to_owned();
        git.subdir = subdir.trim_matches('/').to_owned();
        git.load_query(query)?;
        Ok(Some(git))
    }

    fn load_query(&mut self, query: &str) -> Result<(), GitRefError> {
        let mut seen: Vec<&str> = Vec::new();
        let mut named = None;
        for item in query.split('&').filter(|item| !item.is_empty()) {
            let (key, value) = item.split_once('=').unwrap_or((item, ""));
            if seen.contains(&key) {
                return Err(GitRefError::RepeatedQuery {
                    key: key.to_owned(),
                });
            }
            seen.push(key);
            let prefix = match key {
                "tag" => "refs/tags/",
                "branch" => "refs/heads/",
                _ => {
                    self.load_item(key, value)?;
                    continue;
                }
            };
            if named
                .replace(prefixed(prefix, needed(key, value)?))
                .is_some()
            {
                return Err(GitRefError::BranchAndTag);
            }
        }
        match named {
            Some(name) => set(&mut self.reference, &name, "ref"),
            None => Ok(()),
        }
    }

    fn load_item(&mut self, key: &str, value: &str) -> Result<(), GitRefError> {
        match key {
            "keep-git-dir" => self.keep_git_dir = Some(truth(key, value)?),
            "submodules" => self.submodules = Some(truth(key, value)?),
            "fetch-by-commit" => self.fetch_by_commit = truth(key, value)?,
            "ref" => set(&mut self.reference, needed(key, value)?, "ref")?,
            "subdir" => set(&mut self.subdir, needed(key, value)?, "subdir")?,
            "checksum" | "commit" => needed(key, value)?.clone_into(&mut self.checksum),
            "mtime" => match needed(key, value)? {
                "checkout" | "commit" => value.clone_into(&mut self.mtime),
                _ => {
                    return Err(GitRefError::Mtime {
                        value: value.to_owned(),
                    });
                }
            },
            _ => {
                needed(key, value)?;
                return Err(GitRefError::UnexpectedQuery {
                    key: key.to_owned(),
                });
            }
        }
        Ok(())
    }
}

fn needed<'a>(key: &str, value: &'a str) -> Result<&'a str, GitRefError> {
    if value.is_empty() {
        return Err(GitRefError::QueryWithoutValue {
            key: key.to_owned(),
        });
    }
    Ok(value)
}

fn prefixed(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) {
        name.to_owned()
    } else {
        format!("{prefix}{name}")
    }
}

fn set(place: &mut String, value: &str, what: &'static str) -> Result<(), GitRefError> {
    if !place.is_empty() && place != value {
        return Err(GitRefError::Conflict {
            what,
            first: place.clone(),
            second: value.to_owned(),
        });
    }
    *place = value.to_owned();
    Ok(())
}

fn truth(key: &str, value: &str) -> Result<bool, GitRefError> {
    if value.is_empty() {
        return Ok(true);
    }
    parse_bool(value).ok_or_else(|| GitRefError::NotBoolean {
        key: key.to_owned(),
        value: value.to_owned(),
    })
}

fn url(address: &str) -> Option<GitRef> {
    let (scheme, rest) = address.split_once("://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_git = match scheme {
        "git" | "ssh" => true,
        "http" | "https" => path.ends_with(".git"),
        _ => false,
    };
    is_git.then(|| GitRef {
        remote: address.to_owned(),
        host: host.rsplit('@').next().unwrap_or(host).to_owned(),
        path: path.to_owned(),
        is_ssh: scheme == "ssh",
        ..GitRef::default()
    })
}

/// `user@host:path`
fn scp_style(address: &str) -> Option<GitRef> {
    let (user, rest) = address.split_once('@')?;
    let (host, path) = rest.split_once(':')?;
    let word = |text: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        !text.is_empty() && text.bytes().all(plain)
    };
    (word(user) && word(host)).then(|| GitRef {
        remote: address.to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
        is_ssh: true,
        ..GitRef::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("https://h/a/b.git", Some(("h", "a/b.git", "", ""))),
            (
                "https://h/a/b.git#v1:sub/",
                Some(("h", "a/b.git", "v1", "sub")),
            ),
            (
                "https://h/a/b.git?tag=v1&subdir=x",
                Some(("h", "a/b.git", "refs/tags/v1", "x")),
            ),
            ("git@h:a/b.git", Some(("h", "a/b.git", "", ""))),
            ("ssh://git@h/a", Some(("h", "a", "", ""))),
            ("https://h/a.tar", None),
            ("a/b", None),
            ("github.com/a/b", None),
        ] {
            let git = GitRef::parse(text).expect(text);
            let parts = git.as_ref().map(|git| {
                (
                    git.host.as_str(),
                    git.path.as_str(),
                    git.reference.as_str(),
                    git.subdir.as_str(),
                )
            });
            assert_eq!(parts, expected, "{text}");
        }
    }

    #[test]
    fn bad_queries() {
        let error = GitRef::parse("https://h/x.git?foo=bar").expect_err("refused");
        assert_eq!(error.to_string(), "unexpected query \"foo\"");
    }
}
