//! What a build may say of a file to download.

use lamina_snapshotter::Layer;
use lamina_types::Digest;
use lamina_types::Sha256Hasher;
use lamina_types::without_credentials;
use serde::Deserialize;
use serde::Serialize;

use crate::SourceError;
use crate::SourceRequest;

/// Headers that a build may set (row SRC-31).
const SETTABLE_HEADERS: [&str; 2] = ["accept", "user-agent"];

const HEADER_PREFIX: &str = "http.header.";

/// Mode of a file if the build does not say (row SRC-27).
const DEFAULT_MODE: u32 = 0o600;

/// What a build wants of a URL.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HttpWish {
    /// The whole URL.
    pub url: String,
    /// Name of the file; else the server or the URL gives it (row SRC-29).
    pub filename: Option<String>,
    /// Nine permission bits; 0 = as for a file that nobody else needs.
    pub permissions: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Id of the secret that is sent as `Authorization` (row SRC-30).
    pub auth_secret: Option<String>,
    /// Further headers, by name in lower case.
    pub headers: Vec<(String, String)>,
}

/// A file whose content is known (row SRC-27).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PinnedHttp {
    /// What the build wants.
    pub wish: HttpWish,
    /// Digest of the content.
    pub digest: Digest,
    /// Name of the file.
    pub filename: String,
    /// Seconds since 1970, if the server said.
    pub last_modified: Option<i64>,
    /// The downloaded file; not stored.
    #[serde(skip)]
    pub(super) held: Held,
}

/// Keeps a layer from being collected. Says nothing of what was pinned, so all are equal.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Option<Layer>);

impl Held {
    pub(super) const fn new(layer: Layer) -> Self {
        Self(Some(layer))
    }

    pub(super) const fn layer(&self) -> Option<&Layer> {
        self.0.as_ref()
    }
}

impl PartialEq for Held {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl HttpWish {
    /// Returns the wish and the digest that the build requires (row SRC-28).
    pub(super) fn parse(request: &SourceRequest) -> Result<(Self, Option<Digest>), SourceError> {
        let checksum = request.get("http.checksum").map(str::parse::<Digest>);
        let checksum = checksum.transpose();
        let checksum =
            checksum.map_err(|error| request.bad_attr("http.checksum", error.to_string()))?;
        if request.get("http.sig.pubkey").is_some() || request.get("http.sig.signature").is_some() {
            let reason = "signatures are not supported yet";
            return Err(request.bad_attr("http.sig.signature", reason));
        }
        let mut headers: Vec<(String, String)> = request
            .attrs
            .iter()
            .filter_map(|(name, value)| {
                let name = name.strip_prefix(HEADER_PREFIX)?.to_ascii_lowercase();
                let settable = SETTABLE_HEADERS.contains(&name.as_str());
                settable.then(|| (name, value.clone()))
            })
            .collect();
        headers.sort();
        let wish = Self {
            url: request.identifier.clone(),
            filename: request.get("http.filename").map(str::to_owned),
            permissions: number(request, "http.perm")? & 0o777,
            uid: number(request, "http.uid")?,
            gid: number(request, "http.gid")?,
            auth_secret: request.get("http.authheadersecret").map(str::to_owned),
            headers,
        };
        Ok((wish, checksum))
    }

    pub(super) const fn mode(&self) -> u32 {
        if self.permissions == 0 {
            DEFAULT_MODE
        } else {
            self.permissions
        }
    }

    /// Names the download among those that are remembered.
    pub(super) fn key(&self) -> Digest {
        self.digest(Sha256Hasher::new(), &self.url, self.filename.as_deref())
    }

    /// The URL without credentials, for messages and descriptions.
    pub(super) fn shown_url(&self) -> String {
        without_credentials(&self.url).into_owned()
    }

    fn digest(&self, mut key: Sha256Hasher, what: &str, filename: Option<&str>) -> Digest {
        key.update_field(what.as_bytes());
        key.update_field(filename.unwrap_or_default().as_bytes());
        for number in [self.permissions, self.uid, self.gid] {
            key.update(&number.to_le_bytes());
        }
        key.update_field(self.auth_secret.as_deref().unwrap_or_default().as_bytes());
        for (name, value) in &self.headers {
            key.update_field(name.as_bytes());
            key.update_field(value.as_bytes());
        }
        key.finish()
    }
}

impl PinnedHttp {
    /// Equal content under an equal name, with equal metadata, has an equal key, wherever it is.
    pub(super) fn cache_key(&self) -> Digest {
        let mut key = Sha256Hasher::new();
        key.update_field(b"http source");
        key.update_field(self.digest.as_bytes());
        let time = self.last_modified.map(|seconds| seconds.to_string());
        let time = time.unwrap_or_default();
        self.wish.digest(key, &time, Some(&self.filename))
    }
}

/// Reads a number in decimal, or in another base as C writes it (row SRC-29).
fn number(request: &SourceRequest, name: &'static str) -> Result<u32, SourceError> {
    let Some(text) = request.get(name) else {
        return Ok(0);
    };
    parse_number(text).ok_or_else(|| request.bad_attr(name, "expected a number"))
}

fn parse_number(text: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = if let Some(hex) = lower.strip_prefix("0x") {
        (hex, 16)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (binary, 2)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (octal, 8)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (&lower[1..], 8)
    } else {
        (lower.as_str(), 10)
    };
    // The standard library would take a sign.
    let plain = digits.bytes().all(|digit| digit.is_ascii_alphanumeric());
    plain
        .then(|| u32::from_str_radix(digits, radix).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> SourceRequest {
        SourceRequest::new("https://h.test/d/f")
    }

    #[test]
    fn numbers_have_the_bases_of_c() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("420", Some(420)),
            ("0644", Some(0o644)),
            ("0o644", Some(0o644)),
            ("0x1A4", Some(0o644)),
            ("0b11", Some(3)),
            ("-1", None),
            ("+1", None),
            ("08", None),
            ("0x", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(parse_number(text), wanted, "{text}");
        }
    }

    #[test]
    fn attributes_are_parsed() {
        let digest = Digest::of(b"x");
        let request = request()
            .attr("http.checksum", &digest.to_string())
            .attr("http.filename", "name")
            .attr("http.perm", "0755")
            .attr("http.uid", "1")
            .attr("http.gid", "2")
            .attr("http.authheadersecret", "id")
            .attr("http.header.User-Agent", "me")
            .attr("http.header.Accept", "text/plain")
            .attr("http.header.Cookie", "dropped");
        let (wish, checksum) = HttpWish::parse(&request).expect("fits");
        assert_eq!(checksum, Some(digest));
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let wanted = HttpWish {
            url: "https://h.test/d/f".to_owned(),
            filename: Some("name".to_owned()),
            permissions: 0o755,
            uid: 1,
            gid: 2,
            auth_secret: Some("id".to_owned()),
            headers: vec![header("accept", "text/plain"), header("user-agent", "me")],
        };
        assert_eq!(wish, wanted);
        assert_eq!(HttpWish::default().mode(), 0o600);
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        for name in [
            "http.checksum",
            "http.perm",
            "http.uid",
            "http.sig.signature",
        ] {
            let error = HttpWish::parse(&request().attr(name, "x")).expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn keys_tell_files_apart() {
        let pinned = |change: fn(&mut PinnedHttp)| {
            let mut file = PinnedHttp {
                wish: HttpWish::parse(&request()).expect("fits").0,
                digest: Digest::of(b"x"),
                filename: "f".to_owned(),
                last_modified: None,
                held: Held::default(),
            };
            change(&mut file);
            file.cache_key()
        };
        let base = pinned(|_| {});
        for other in [
            pinned(|f| f.digest = Digest::of(b"y")),
            pinned(|f| f.filename = "g".to_owned()),
            pinned(|f| f.last_modified = Some(1)),
            pinned(|f| f.wish.permissions = 0o644),
            pinned(|f| f.wish.uid = 1),
            pinned(|f| f.wish.gid = 1),
        ] {
            assert_ne!(other, base);
        }
        assert_eq!(
            pinned(|f| f.wish.url = "http://other.test/f".to_owned()),
            base
        );
    }
}
