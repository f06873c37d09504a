//! A name and a secret for a registry.

use std::fmt;

/// What the client knows itself by at a registry (row SVC-10).
///
/// An empty `username` marks `secret` as an identity token, to be exchanged at the token server.
/// `Debug` never shows the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The account; empty for an identity token.
    pub username: String,
    /// The password or the identity token.
    pub secret: String,
}

impl Credentials {
    /// Says whether the secret is an identity token.
    #[must_use]
    pub fn is_identity_token(&self) -> bool {
        self.username.is_empty()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("secret", &"<redacted>")
            .finish()
    }
}
