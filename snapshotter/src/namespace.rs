//! The names of overlayfs' own extended attributes.

use std::fmt;

/// What follows the prefix in the name of an escaped attribute, as the kernel does it.
const ESCAPE: &[u8] = b"overlay.";

/// Says which extended attributes the store's layers use; fixed when the store is made.
///
/// `trusted.*` needs root in the first user namespace; an overlay that is mounted in another user
/// namespace (`userxattr`) uses `user.*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XattrNamespace {
    /// `trusted.overlay.*`
    Trusted,
    /// `user.overlay.*`
    User,
}

impl XattrNamespace {
    /// Returns the prefix of every overlay attribute.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.",
            Self::User => "user.overlay.",
        }
    }

    /// Returns the attribute that hides whatever lies below a directory.
    pub(crate) const fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }

    /// Returns the attribute that makes the kernel look for whiteouts in a directory that merges
    /// with nothing.
    pub(crate) const fn origin(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.origin",
            Self::User => "user.overlay.origin",
        }
    }

    /// Says whether `name` is an attribute of an overlay inside a step, which the overlay outside keeps
    /// under an escaped name: content.
    pub(crate) fn is_escaped(self, name: &[u8]) -> bool {
        let inner = name.strip_prefix(self.prefix().as_bytes());
        inner.is_some_and(|inner| inner.starts_with(ESCAPE))
    }

    /// Returns the name under which an attribute that a step calls `name` is kept.
    pub(crate) fn escape(self, name: &[u8]) -> Vec<u8> {
        match name.strip_prefix(self.prefix().as_bytes()) {
            Some(inner) => [self.prefix().as_bytes(), ESCAPE, inner].concat(),
            None => name.to_vec(),
        }
    }

    /// Returns what a step calls the attribute `name`; `None` if it belongs to the overlay itself.
    pub(crate) fn unescape(self, name: &[u8]) -> Option<Vec<u8>> {
        let Some(inner) = name.strip_prefix(self.prefix().as_bytes()) else {
            return Some(name.to_vec());
        };
        let inner = inner.strip_prefix(ESCAPE)?;
        Some([self.prefix().as_bytes(), inner].concat())
    }

    /// Returns the word for it in `layers/format`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::User => "user",
        }
    }

    /// Reads the word of `layers/format`.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Trusted, Self::User]
            .into_iter()
            .find(|namespace| namespace.word() == word)
    }
}

impl fmt::Display for XattrNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Says whether `name` belongs to some overlay, of either namespace, and so never to an image.
pub(crate) fn is_overlay(name: &[u8]) -> bool {
    name.starts_with(XattrNamespace::Trusted.prefix().as_bytes())
        || name.starts_with(XattrNamespace::User.prefix().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_an_inner_overlay_are_kept_under_other_names() {
        let namespace = XattrNamespace::User;
        for (shown, kept) in [
            ("user.a", "user.a"),
            ("trusted.overlay.opaque", "trusted.overlay.opaque"),
            ("user.overlay.opaque", "user.overlay.overlay.opaque"),
            ("user.overlay.overlay.x", "user.overlay.overlay.overlay.x"),
        ] {
            assert_eq!(namespace.escape(shown.as_bytes()), kept.as_bytes());
            assert_eq!(namespace.unescape(kept.as_bytes()), Some(shown.into()));
            assert_eq!(namespace.is_escaped(kept.as_bytes()), shown != kept);
        }
        assert_eq!(namespace.unescape(b"user.overlay.opaque"), None);
        assert!(!namespace.is_escaped(b"user.overlay.opaque"));
    }
}
