//! What every overlay mount of ours asks for.

use crate::XattrNamespace;

/// Options without a value and with one, as `fsconfig` and `mount` know them.
///
/// No feature that stores more than a plain changeset in the upper directory may be on, whatever the
/// kernel's defaults are, because sealed layers must not depend on it. With `userxattr` the kernel
/// itself refuses redirects and metacopy, and some versions even refuse to be told that they are off.
pub(super) fn common(namespace: XattrNamespace) -> Vec<(&'static str, Option<&'static str>)> {
    match namespace {
        XattrNamespace::Trusted => vec![
            ("redirect_dir", Some("off")),
            ("metacopy", Some("off")),
            ("index", Some("off")),
        ],
        XattrNamespace::User => vec![("userxattr", None), ("index", Some("off"))],
    }
}

/// For writable mounts: skips all syncing. After a crash an active layer is thrown away in any case.
pub(super) const VOLATILE: &str = "volatile";
