//! The names of overlayfs' own extended attributes.

use std::fmt;

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
