//! Under which names attributes are kept.

use super::Owners;
use crate::namespace;

/// Everything that begins like this is ours.
const OURS: &[u8] = b"user.lamina.";

/// What stands before the name of an attribute that the user may not set, or that is called like ours.
const KEPT: &[u8] = b"user.lamina.xattr.";

impl Owners {
    /// Returns the name of an image's attribute that is kept under the name `kept`; `None` if that is
    /// not the image's.
    pub(crate) fn image_name(self, kept: &[u8]) -> Option<Vec<u8>> {
        let name = self.shown_name(kept)?;
        is_of_image(&name).then_some(name)
    }

    /// Returns what a process is told of the attribute `kept`; `None` if it is nobody's but the store's
    /// or the host's.
    pub(crate) fn shown_name(self, kept: &[u8]) -> Option<Vec<u8>> {
        if self == Self::Real {
            return Some(kept.to_vec());
        }
        match kept.strip_prefix(KEPT) {
            Some(name) => Some(name.to_vec()),
            None if kept.starts_with(OURS) || !kept.starts_with(b"user.") => None,
            None => Some(kept.to_vec()),
        }
    }

    /// Returns the name under which the attribute `name` is kept.
    pub(crate) fn kept_name(self, name: &[u8]) -> Vec<u8> {
        let as_it_is = name.starts_with(b"user.") && !name.starts_with(OURS);
        match self {
            Self::Stored if !as_it_is => [KEPT, name].concat(),
            _ => name.to_vec(),
        }
    }
}

/// Says whether an attribute belongs to the image: not to an overlay, and not to the host's security
/// modules (labels and measurements of this machine); file capabilities do.
pub(crate) fn is_of_image(name: &[u8]) -> bool {
    !namespace::is_overlay(name)
        && (!name.starts_with(b"security.") || name == b"security.capability")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_host_and_the_overlay_are_not_the_images() {
        for (name, expected) in [
            (&b"user.a"[..], true),
            (b"security.capability", true),
            (b"security.selinux", false),
            (b"trusted.overlay.opaque", false),
            (b"user.overlay.origin", false),
            (b"trusted.x", true),
            (b"system.posix_acl_access", true),
        ] {
            assert_eq!(is_of_image(name), expected, "{name:?}");
        }
    }

    #[test]
    fn names_come_back() {
        for (name, kept) in [
            ("user.a", "user.a"),
            ("user.overlay.opaque", "user.overlay.opaque"),
            ("user.lamina.stat", "user.lamina.xattr.user.lamina.stat"),
            (
                "user.lamina.xattr.x",
                "user.lamina.xattr.user.lamina.xattr.x",
            ),
            ("trusted.x", "user.lamina.xattr.trusted.x"),
            (
                "security.capability",
                "user.lamina.xattr.security.capability",
            ),
        ] {
            let (name, kept) = (name.as_bytes(), kept.as_bytes());
            assert_eq!(Owners::Stored.kept_name(name), kept);
            assert_eq!(Owners::Stored.shown_name(kept).as_deref(), Some(name));
            assert_eq!(Owners::Real.kept_name(name), name);
            assert_eq!(Owners::Real.shown_name(name).as_deref(), Some(name));
        }
    }

    #[test]
    fn what_the_store_and_the_host_put_there_is_not_shown() {
        for kept in [
            "user.lamina.stat",
            "user.lamina.other",
            "security.selinux",
            "trusted.x",
        ] {
            assert_eq!(Owners::Stored.shown_name(kept.as_bytes()), None, "{kept}");
        }
        for kept in ["user.overlay.opaque", "user.lamina.xattr.security.selinux"] {
            assert_eq!(Owners::Stored.image_name(kept.as_bytes()), None, "{kept}");
        }
    }
}
