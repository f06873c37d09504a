//! What a build may say of a local source.

use lamina_session::LocalRequest;
use lamina_types::Digest;
use lamina_types::Sha256Hasher;
use serde::Deserialize;
use serde::Serialize;

use crate::SourceError;
use crate::SourceRequest;

/// A directory of the client and what is wanted of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PinnedLocal {
    /// What the client calls the directory.
    pub name: String,
    /// The session that has it, if the build names one (row SRC-09).
    pub session: Option<String>,
    /// Only what matches; empty = everything (row SRC-11).
    pub include: Vec<String>,
    /// Not what matches.
    pub exclude: Vec<String>,
    /// Only these, and what their symlinks lead to.
    pub follow: Vec<String>,
    /// Tells apart directories of one name for incremental transfer (row SRC-12).
    pub shared_key_hint: String,
    /// Whether unchanged files are taken from the last transfer (row SRC-13).
    pub incremental: bool,
}

impl PinnedLocal {
    pub(super) fn parse(request: &SourceRequest) -> Result<Self, SourceError> {
        refuse_metadata_transfer(request)?;
        let name = request.rest()?;
        let (name, session) = match request.get("local.session") {
            Some(session) => match session.split_once(':') {
                Some((prefix, id)) => (format!("{prefix}-{name}"), Some(id.to_owned())),
                None => (name.to_owned(), Some(session.to_owned())),
            },
            None => (name.to_owned(), None),
        };
        let hint = request.get("local.sharedkeyhint").unwrap_or_default();
        Ok(Self {
            name,
            session,
            include: strings(request, "local.includepattern")?,
            exclude: strings(request, "local.excludepatterns")?,
            follow: strings(request, "local.followpaths")?,
            shared_key_hint: hint.to_owned(),
            incremental: request.get("local.differ") != Some("none"),
        })
    }

    /// What is asked of the client.
    pub(super) fn request(&self) -> LocalRequest {
        LocalRequest {
            name: self.name.clone(),
            includes: self.include.clone(),
            excludes: self.exclude.clone(),
            follow: self.follow.clone(),
        }
    }

    /// Returns the key before the transfer: whose directory it is and which part (row SRC-15).
    pub(super) fn cache_key(&self, session: &str) -> Digest {
        let mut key = Sha256Hasher::new();
        let session = self.session.as_deref().unwrap_or(session);
        for field in [SCHEME_TAG, session, &self.name] {
            key.update_field(field.as_bytes());
        }
        for list in [&self.include, &self.exclude, &self.follow] {
            key.update_field(&(list.len() as u64).to_le_bytes());
            for item in list {
                key.update_field(item.as_bytes());
            }
        }
        key.finish()
    }
}

/// Keeps these keys apart from all others.
const SCHEME_TAG: &str = "local source";

/// Parses an attribute that holds a JSON array of strings.
fn strings(request: &SourceRequest, name: &'static str) -> Result<Vec<String>, SourceError> {
    let Some(text) = request.get(name) else {
        return Ok(Vec::new());
    };
    let parsed: Result<Option<Vec<String>>, _> = serde_json::from_str(text);
    parsed
        .map(Option::unwrap_or_default)
        .map_err(|error| request.bad_attr(name, error.to_string()))
}

/// Giving all content instead of none would be wrong (row SRC-14).
fn refuse_metadata_transfer(request: &SourceRequest) -> Result<(), SourceError> {
    const NAME: &str = "local.metadatatransfer";
    match request.get(NAME) {
        None | Some("false" | "False" | "FALSE" | "f" | "F" | "0") => Ok(()),
        Some(_) => Err(request.bad_attr(NAME, "metadata-only transfer is not supported yet")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> SourceRequest {
        SourceRequest::new("local://context")
    }

    fn parse(request: &SourceRequest) -> PinnedLocal {
        PinnedLocal::parse(request).expect("fits")
    }

    #[test]
    fn attributes_are_parsed() {
        let local = parse(
            &request()
                .attr("local.includepattern", r#"["a","b/*"]"#)
                .attr("local.excludepatterns", "null")
                .attr("local.followpaths", r#"["c"]"#)
                .attr("local.sharedkeyhint", "hint")
                .attr("local.unique", "u")
                .attr("local.differ", "none")
                .attr("something.else", "x"),
        );
        assert_eq!(local.include, ["a", "b/*"]);
        assert!(local.exclude.is_empty());
        assert_eq!(local.follow, ["c"]);
        assert_eq!(local.shared_key_hint, "hint");
        assert!(!local.incremental);
        assert!(parse(&request()).incremental);
    }

    #[test]
    fn sessions_may_rename_the_source() {
        let plain = parse(&request().attr("local.session", "id"));
        assert_eq!(
            (plain.name.as_str(), plain.session.as_deref()),
            ("context", Some("id"))
        );
        let prefixed = parse(&request().attr("local.session", "p:id"));
        assert_eq!(prefixed.name, "p-context");
        assert_eq!(prefixed.session.as_deref(), Some("id"));
    }

    #[test]
    fn keys_tell_sessions_and_patterns_apart() {
        let base = parse(&request());
        let keys = [
            base.cache_key("s1"),
            base.cache_key("s2"),
            parse(&request().attr("local.includepattern", r#"["a"]"#)).cache_key("s1"),
            parse(&request().attr("local.excludepatterns", r#"["a"]"#)).cache_key("s1"),
            parse(&request().attr("local.followpaths", r#"["a"]"#)).cache_key("s1"),
            parse(&SourceRequest::new("local://other")).cache_key("s1"),
        ];
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        let same = [
            parse(&request().attr("local.unique", "u")),
            parse(&request().attr("local.sharedkeyhint", "h")),
            parse(&request().attr("local.session", "s1")),
        ];
        assert!(same.iter().all(|local| local.cache_key("s1") == keys[0]));
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        for (name, value, wanted) in [
            (
                "local.includepattern",
                "a",
                "invalid value \"a\" of local.includepattern",
            ),
            ("local.followpaths", "[1]", "local.followpaths"),
            ("local.metadatatransfer", "true", "not supported yet"),
        ] {
            let error = PinnedLocal::parse(&request().attr(name, value)).expect_err(name);
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }
}
