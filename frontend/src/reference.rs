//! Image references: the short names that users write and the full ones that registries know
//! (row GW-02).

use std::fmt;

/// A reference in its full form: `docker.io/library/` filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageName {
    /// `host/path`
    name: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Says why a text is no reference; the texts are the Docker reference package's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Not of the form at all.
    #[error("invalid reference format")]
    Format,
    /// Capital letters in the repository.
    #[error("invalid reference format: repository name ({path}) must be lowercase")]
    Uppercase {
        /// The repository, without its host.
        path: String,
    },
    /// The name is longer than registries allow.
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    /// 64 hexadecimal digits are an image's id, not a name.
    #[error("invalid repository name ({name}), cannot specify 64-byte hexadecimal strings")]
    Identifier {
        /// What was given.
        name: String,
    },
}

const DEFAULT_HOST: &str = "docker.io";
const OFFICIAL: &str = "library/";
const MAX_NAME: usize = 255;

impl ImageName {
    /// Reads a reference and fills in the host and `library/`.
    ///
    /// # Errors
    /// If the text is no reference.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.len() == 64
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(ReferenceError::Identifier {
                name: text.to_owned(),
            });
        }
        let (host, remainder) = split_host(text);
        let path = remainder.split(':').next().unwrap_or_default();
        if path.chars().any(char::is_uppercase) {
            return Err(ReferenceError::Uppercase {
                path: path.to_owned(),
            });
        }
        Self::from_parts(&host, &remainder)
    }

    fn from_parts(host: &str, remainder: &str) -> Result<Self, ReferenceError> {
        let (rest, digest) = match remainder.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (remainder, None),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let valid = is_host(host)
            && path.split('/').all(is_component)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest);
        if !valid {
            return Err(ReferenceError::Format);
        }
        if path.len() > MAX_NAME {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self {
            name: format!("{host}/{path}"),
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// Fills in the tag `latest` if there is neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// Pins the reference to a digest; the tag stays.
    #[must_use]
    pub fn with_digest(mut self, digest: &str) -> Self {
        self.digest = Some(digest.to_owned());
        self
    }

    /// Returns the digest that the reference is pinned to.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Returns the name without tag and digest.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the short form: without `docker.io/` and `library/`.
    #[must_use]
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let Some(path) = full.strip_prefix("docker.io/") else {
            return full;
        };
        match path.strip_prefix(OFFICIAL) {
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => path.to_owned(),
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Cuts off the host if the first part looks like one, else fills in the default one.
fn split_host(text: &str) -> (String, String) {
    let (host, rest) = match text.split_once('/') {
        Some((first, rest)) if looks_like_host(first) => (first, rest),
        _ => (DEFAULT_HOST, text),
    };
    let host = if host == "index.docker.io" {
        DEFAULT_HOST
    } else {
        host
    };
    if host == DEFAULT_HOST && !rest.contains('/') {
        return (host.to_owned(), format!("{OFFICIAL}{rest}"));
    }
    (host.to_owned(), rest.to_owned())
}

fn looks_like_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost" || part != part.to_lowercase()
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    if port.is_some_and(|port| port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit())) {
        return false;
    }
    if let Some(address) = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    {
        return address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    }
    name.split('.').all(|part| {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = part.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    })
}

/// Lower-case words joined by `.`, `_`, `__` or any number of `-`.
fn is_component(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let edges =
        bytes.first().is_some_and(|b| is_word(*b)) && bytes.last().is_some_and(|b| is_word(*b));
    let mut separators = part.split(|ch: char| ch.is_ascii() && is_word(ch as u8));
    edges
        && separators.all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let first = tag.bytes().next();
    first.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && tag.len() <= 128
        && tag.bytes().all(inner)
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else {
        return false;
    };
    !algorithm.is_empty()
        && algorithm
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+._-".contains(&b))
        && hex.len() >= 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in() {
        for (text, full, familiar) in [
            ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("alpine:3", "docker.io/library/alpine:3", "alpine:3"),
            ("me/x", "docker.io/me/x:latest", "me/x:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            (
                "localhost:5000/x:1",
                "localhost:5000/x:1",
                "localhost:5000/x:1",
            ),
            (
                "index.docker.io/alpine",
                "docker.io/library/alpine:latest",
                "alpine:latest",
            ),
        ] {
            let name = ImageName::parse(text).expect(text).or_latest();
            assert_eq!(name.to_string(), full);
            assert_eq!(name.familiar(), familiar);
        }
    }

    #[test]
    fn bad_names_are_refused() {
        for (text, message) in [
            ("", "invalid reference format"),
            ("foo@@bar", "invalid reference format"),
            ("a:", "invalid reference format"),
            (
                "oNE",
                "invalid reference format: repository name (library/oNE) must be lowercase",
            ),
            (
                "Foo/Bar",
                "invalid reference format: repository name (Bar) must be lowercase",
            ),
            (
                "a/Bar:x",
                "invalid reference format: repository name (a/Bar) must be lowercase",
            ),
        ] {
            assert_eq!(ImageName::parse(text).expect_err(text).to_string(), message);
        }
    }
}
