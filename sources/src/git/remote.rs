//! Addresses of repositories, without the credentials that users put into them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lamina_types::without_credentials;
use reqwest::Url;

use super::GitError;
use crate::percent::percent_decode;

/// Schemes that are handed to git. It could do more, such as files of this host and programs.
const SCHEMES: [&str; 4] = ["https", "http", "ssh", "git"];

/// Hosts on which one token is good for all repositories, also for submodules.
const SHARED_SCOPES: [&str; 2] = ["https://github.com/", "https://www.github.com/"];

/// Where a repository is.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Remote {
    /// The address for git: without password, query and fragment.
    pub(super) url: String,
    /// The host, with the port where one is given.
    pub(super) host: String,
    /// What the address has as `Authorization`, if it has credentials and is one of HTTP.
    pub(super) login: Option<String>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Remote {
    /// Reads `https://host/path`, `ssh://user@host/path`, `user@host:path`; without a scheme it is
    /// `https` (row SRC-16).
    ///
    /// # Errors
    /// [`GitError::Address`].
    pub(super) fn parse(text: &str) -> Result<Self, GitError> {
        let wrong = |reason: &str| GitError::Address {
            address: without_credentials(text).into_owned(),
            reason: reason.to_owned(),
        };
        if text.chars().any(|c| c.is_control() || c == ' ') {
            return Err(wrong("it has characters that no address has"));
        }
        match text.split_once("://") {
            Some((scheme, _)) => {
                let scheme = scheme.to_ascii_lowercase();
                if !SCHEMES.contains(&scheme.as_str()) {
                    return Err(wrong(&format!("scheme {scheme} is not allowed")));
                }
                let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
                Self::of_url(url).ok_or_else(|| wrong("it names no host"))
            }
            None => match Self::of_scp_style(text) {
                Some(remote) => Ok(remote),
                None => Self::parse(&format!("https://{text}")),
            },
        }
    }

    fn of_url(mut url: Url) -> Option<Self> {
        let host = url.host_str().filter(|host| !host.is_empty())?;
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let login = login(&url);
        url.set_password(None).ok()?;
        if url.scheme() != "ssh" {
            url.set_username("").ok()?;
        }
        url.set_query(None);
        url.set_fragment(None);
        Some(Self {
            url: url.to_string(),
            host,
            login,
        })
    }

    /// `user@host:path`
    fn of_scp_style(text: &str) -> Option<Self> {
        let text = text.split(['?', '#']).next()?;
        let (user, rest) = text.split_once('@')?;
        let (host, path) = rest.split_once(':')?;
        let is_word = |word: &str, more: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
            !word.is_empty() && !word.starts_with('-') && word.chars().all(plain)
        };
        let fits = is_word(user, "-_") && is_word(host, "-.") && !path.is_empty();
        fits.then(|| Self {
            url: text.to_owned(),
            host: host.to_owned(),
            login: None,
        })
    }

    /// Returns the address for which a credential is good.
    pub(super) fn scope(&self) -> &str {
        let shared = SHARED_SCOPES
            .iter()
            .find(|scope| self.url.starts_with(**scope));
        shared.copied().unwrap_or(&self.url)
    }

    /// Says whether it is reached by HTTP, where an `Authorization` means something.
    pub(super) fn is_http(&self) -> bool {
        self.url.starts_with("http://") || self.url.starts_with("https://")
    }
}

/// Returns the credentials of an address, as HTTP sends them.
fn login(url: &Url) -> Option<String> {
    let user = percent_decode(url.username());
    let password = percent_decode(url.password().unwrap_or_default());
    let is_http = matches!(url.scheme(), "http" | "https");
    let given = !user.is_empty() || !password.is_empty();
    (is_http && given).then(|| basic(&user, &password))
}

/// Returns what HTTP sends for a user with a password.
pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_credentials() {
        for (text, url, host, login) in [
            ("https://h/a.git", "https://h/a.git", "h", None),
            ("h.test/a.git", "https://h.test/a.git", "h.test", None),
            ("http://h:81/a.git?x=y#z", "http://h:81/a.git", "h:81", None),
            (
                "https://u:p%40@h/a",
                "https://h/a",
                "h",
                Some(basic("u", "p@")),
            ),
            ("https://t@h/a", "https://h/a", "h", Some(basic("t", ""))),
            ("ssh://git@h:22/a", "ssh://git@h:22/a", "h:22", None),
            ("ssh://u:p@h/~v/a", "ssh://u@h/~v/a", "h", None),
            ("git://u:p@h/a", "git://h/a", "h", None),
            ("git@h.test:a/b.git", "git@h.test:a/b.git", "h.test", None),
        ] {
            let remote = Remote::parse(text).expect(text);
            assert_eq!(
                (remote.url.as_str(), remote.host.as_str(), remote.login),
                (url, host, login),
                "{text}"
            );
        }
    }

    #[test]
    fn other_addresses_are_refused() {
        for text in [
            "file:///etc",
            "ext::sh -c x",
            "ext://x",
            "https://",
            "https://h/a\nb",
            "-oProxyCommand=x@h:a b",
            "",
        ] {
            assert!(Remote::parse(text).is_err(), "{text:?}");
        }
        let error = Remote::parse("file://u:secret@h/x").expect_err("refused");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn tokens_are_shared_on_one_host_only() {
        let scope = |text| Remote::parse(text).expect("fits").scope().to_owned();
        assert_eq!(scope("https://github.com/a/b.git"), "https://github.com/");
        assert_eq!(scope("https://h.test/a/b.git"), "https://h.test/a/b.git");
    }
}
