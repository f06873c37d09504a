//! Names of images, as users write them and as registries need them (row GW-02).
//!
//! ```text
//! reference  = [host "/"] repository [":" tag] ["@" digest]
//! host       = label *("." label) [":" port] | "[" ipv6 "]" [":" port]
//! repository = component *("/" component)
//! component  = 1*(a-z 0-9) *(("." | "_" | "__" | 1*"-") 1*(a-z 0-9))
//! tag        = (A-Z a-z 0-9 _) *127(A-Z a-z 0-9 _ . -)
//! ```
//! The first component is a host only if it has a `.` or a `:` or is `localhost`; otherwise the host
//! is `docker.io`, where a repository of one component lies below `library/`.

use std::fmt;
use std::str::FromStr;

use lamina_types::Digest;

/// The host of references that name none.
const DEFAULT_HOST: &str = "docker.io";
/// Another name that Docker Hub has in old configurations.
const LEGACY_DEFAULT_HOST: &str = "index.docker.io";
/// Where the one-component names of Docker Hub lie.
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// Longest host plus repository that registries accept.
const MAX_NAME_BYTES: usize = 255;
const MAX_TAG_BYTES: usize = 128;

/// A normalised image reference: `host/repository[:tag][@digest]`, with `docker.io`, `library/`
/// and `:latest` filled in (row GW-02).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ImageReference {
    /// Registry, with its port if it has one.
    pub host: String,
    /// Path of the repository in the registry.
    pub repository: String,
    /// Tag; `None` only if there is a digest.
    pub tag: Option<String>,
    /// What the reference must resolve to.
    pub digest: Option<Digest>,
}

/// Says why a text does not name an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Nothing of the grammar fits.
    #[error("invalid reference format: {text:?}: {reason}")]
    Malformed {
        /// What was given.
        text: String,
        /// Which part of it is wrong.
        reason: &'static str,
    },
    /// Upper case letters in the repository.
    #[error("invalid reference format: repository name ({repository}) must be lowercase")]
    NotLowercase {
        /// The repository.
        repository: String,
    },
    /// A name that looks like an image id.
    #[error("invalid repository name ({repository}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId {
        /// The repository.
        repository: String,
    },
    /// Longer than registries accept.
    #[error("{text:?}: repository name must not be more than {MAX_NAME_BYTES} characters")]
    TooLong {
        /// What was given.
        text: String,
    },
}

impl ImageReference {
    /// Returns the short form, without what [`FromStr`] fills in.
    #[must_use]
    pub fn familiar(&self) -> String {
        let mut text = if self.host == DEFAULT_HOST {
            self.repository
                .strip_prefix(OFFICIAL_PREFIX)
                .unwrap_or(&self.repository)
                .to_owned()
        } else {
            self.name()
        };
        match (&self.tag, &self.digest) {
            (Some(tag), None) if tag == DEFAULT_TAG => {}
            _ => self.push_suffix(&mut text),
        }
        text
    }

    /// Returns host and repository without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// Returns this reference pinned to `digest`.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// Returns what the registry is asked for: the digest if there is one, else the tag.
    pub(crate) fn object(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    fn push_suffix(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.name();
        self.push_suffix(&mut text);
        f.write_str(&text)
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let malformed = |reason| ReferenceError::Malformed {
            text: text.to_owned(),
            reason,
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest
                    .parse()
                    .map_err(|_| malformed("expected sha256: and 64 hex digits after the @"))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(malformed("the tag is malformed"));
        }
        let (host, repository) = split_host(name);
        check_name(text, host, &repository)?;
        let tag = tag.map(str::to_owned);
        Ok(Self {
            host: host.to_owned(),
            repository,
            tag: tag.or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned())),
            digest,
        })
    }
}

/// A colon after the last slash begins the tag; any other belongs to the host.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rfind(':') {
        Some(at) if !text[at..].contains('/') => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    }
}

fn split_host(name: &str) -> (&str, String) {
    let (host, repository) = match name.split_once('/') {
        Some((first, rest)) if is_host_like(first) => (first, rest),
        _ => (DEFAULT_HOST, name),
    };
    if host == LEGACY_DEFAULT_HOST || host == DEFAULT_HOST {
        let official = !repository.contains('/') && !repository.is_empty();
        let prefix = if official { OFFICIAL_PREFIX } else { "" };
        return (DEFAULT_HOST, format!("{prefix}{repository}"));
    }
    (host, repository.to_owned())
}

fn is_host_like(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost" || part.bytes().any(|b| b.is_ascii_uppercase())
}

fn check_name(text: &str, host: &str, repository: &str) -> Result<(), ReferenceError> {
    let malformed = |reason| ReferenceError::Malformed {
        text: text.to_owned(),
        reason,
    };
    if !is_host(host) {
        return Err(malformed("the host is malformed"));
    }
    if repository.is_empty() {
        return Err(malformed("the repository is missing"));
    }
    if !repository.split('/').all(is_component) {
        let lower = repository.to_ascii_lowercase();
        if lower != repository && lower.split('/').all(is_component) {
            return Err(ReferenceError::NotLowercase {
                repository: repository.to_owned(),
            });
        }
        return Err(malformed("the repository is malformed"));
    }
    let short = repository
        .strip_prefix(OFFICIAL_PREFIX)
        .unwrap_or(repository);
    if host == DEFAULT_HOST && short.len() == 64 && short.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ReferenceError::LooksLikeId {
            repository: short.to_owned(),
        });
    }
    if host.len() + 1 + repository.len() > MAX_NAME_BYTES {
        return Err(ReferenceError::TooLong {
            text: text.to_owned(),
        });
    }
    Ok(())
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rfind(':') {
        Some(at) if !host[at..].contains(']') => (&host[..at], Some(&host[at + 1..])),
        _ => (host, None),
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let name_fits = match name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(is_label),
    };
    port_fits && name_fits
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_fit = bytes.first().is_some_and(|&b| alphanumeric(b))
        && bytes.last().is_some_and(|&b| alphanumeric(b));
    let separators_fit = bytes
        .split(|&b| alphanumeric(b))
        .all(|run| matches!(run, b"" | b"." | b"_" | b"__") || run.iter().all(|&b| b == b'-'));
    ends_fit && separators_fit
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= MAX_TAG_BYTES
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_normalised_and_shortened() {
        for (text, full, short) in [
            ("a", "docker.io/library/a:latest", "a"),
            ("a:1", "docker.io/library/a:1", "a:1"),
            ("a/b", "docker.io/a/b:latest", "a/b"),
            ("docker.io/a", "docker.io/library/a:latest", "a"),
            ("index.docker.io/a/b:x", "docker.io/a/b:x", "a/b:x"),
            ("h.test/a", "h.test/a:latest", "h.test/a"),
            ("h:5000/a/b:c", "h:5000/a/b:c", "h:5000/a/b:c"),
            ("localhost/a", "localhost/a:latest", "localhost/a"),
            ("127.0.0.1:1/a", "127.0.0.1:1/a:latest", "127.0.0.1:1/a"),
            ("[::1]:5000/a:b", "[::1]:5000/a:b", "[::1]:5000/a:b"),
            ("[::1]/a", "[::1]/a:latest", "[::1]/a"),
            ("Host/a", "Host/a:latest", "Host/a"),
            ("x/a__b.c--d", "docker.io/x/a__b.c--d:latest", "x/a__b.c--d"),
            ("a:B_c.D-e", "docker.io/library/a:B_c.D-e", "a:B_c.D-e"),
        ] {
            let reference: ImageReference = text.parse().expect(text);
            assert_eq!(reference.to_string(), full, "{text}");
            assert_eq!(reference.familiar(), short, "{text}");
            assert_eq!(full.parse::<ImageReference>(), Ok(reference), "{text}");
        }
    }

    #[test]
    fn digests_pin_and_make_the_tag_optional() {
        let reference: ImageReference = format!("a@{SHA}").parse().expect("fits");
        assert_eq!(reference.tag, None);
        assert_eq!(reference.object(), SHA);
        assert_eq!(reference.familiar(), format!("a@{SHA}"));
        let reference: ImageReference = format!("a:latest@{SHA}").parse().expect("fits");
        assert_eq!(
            reference.to_string(),
            format!("docker.io/library/a:latest@{SHA}")
        );
        assert_eq!(reference.familiar(), format!("a:latest@{SHA}"));
    }

    #[test]
    fn bad_references_are_refused_and_quoted() {
        let long_tag = format!("a:{}", "x".repeat(129));
        let long_name = format!("h.test/{}", "x".repeat(255));
        let id = "ab".repeat(32);
        for (text, wanted) in [
            ("", "the repository is missing"),
            (":", "the tag is malformed"),
            ("a:", "the tag is malformed"),
            ("a:-x", "the tag is malformed"),
            (long_tag.as_str(), "the tag is malformed"),
            ("a b", "\"a b\": the repository is malformed"),
            ("-a", "the repository is malformed"),
            ("a..b/c", "the host is malformed"),
            ("x/a..b", "the repository is malformed"),
            ("a___b", "the repository is malformed"),
            ("a//b", "the repository is malformed"),
            ("/a", "the repository is malformed"),
            ("h.test/", "the repository is missing"),
            ("h.test:x/a", "the host is malformed"),
            ("h.test:99999/a", "the host is malformed"),
            ("[::g]/a", "the host is malformed"),
            ("a@sha256:12", "64 hex digits after the @"),
            ("a@md5:12", "64 hex digits after the @"),
            ("Upper", "repository name (library/Upper) must be lowercase"),
            ("h.test/a/B", "repository name (a/B) must be lowercase"),
            (id.as_str(), "cannot specify 64-byte hexadecimal strings"),
            (long_name.as_str(), "must not be more than 255 characters"),
            ("\u{e9}/a", "the repository is malformed"),
        ] {
            let error = text.parse::<ImageReference>().expect_err(text);
            assert!(error.to_string().contains(wanted), "{text}: {error}");
        }
    }
}
