//! Path texts of clients: what a trailing `/` or `/.` means.

use lamina_types::RootedPath;

/// A path of a copy: cleaned, with its trailing `/` or `/.` kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopyPath {
    path: RootedPath,
    ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Plain,
    Slash,
    Dot,
}

impl CopyPath {
    /// Cleans `text`, taken as relative to the root.
    pub(crate) fn new(text: &[u8]) -> Self {
        let path = RootedPath::new(text);
        let ending = if text.ends_with(b"/.") {
            Ending::Dot
        } else if text.ends_with(b"/") && !path.is_root() {
            Ending::Slash
        } else {
            Ending::Plain
        };
        Self { path, ending }
    }

    /// Returns the path alone.
    pub(crate) fn path(&self) -> &RootedPath {
        &self.path
    }

    /// Returns the directory that must exist before anything is copied here: the path itself if it
    /// is said to be a directory, else its parent.
    pub(crate) fn needed_directory(&self) -> RootedPath {
        match self.ending {
            Ending::Plain => self.path.parent().unwrap_or_else(RootedPath::root),
            Ending::Slash | Ending::Dot => self.path.clone(),
        }
    }

    /// Returns the name that a copy of this gets inside an existing directory; `None` for the
    /// directory's own contents (`/dir/.`) and for the root.
    pub(crate) fn name_inside(&self) -> Option<Vec<u8>> {
        match self.ending {
            Ending::Dot => None,
            Ending::Plain | Ending::Slash => self.path.file_name().map(<[u8]>::to_vec),
        }
    }
}

impl From<RootedPath> for CopyPath {
    fn from(path: RootedPath) -> Self {
        let ending = Ending::Plain;
        Self { path, ending }
    }
}

impl std::fmt::Display for CopyPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slash = if self.path.is_root() { "" } else { "/" };
        match self.ending {
            Ending::Plain => write!(f, "{}", self.path),
            Ending::Slash => write!(f, "{}{slash}", self.path),
            Ending::Dot => write!(f, "{}{slash}.", self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_kept() {
        for (text, shown, needed, inside) in [
            ("a", "/a", "/", Some("a")),
            ("/a/b", "/a/b", "/a", Some("b")),
            ("/a/b/", "/a/b/", "/a/b", Some("b")),
            ("/a/b/.", "/a/b/.", "/a/b", None),
            ("/", "/", "/", None),
            ("/.", "/.", "/", None),
            ("", "/", "/", None),
            (".", "/", "/", None),
            ("./", "/", "/", None),
            ("/a/../b/", "/b/", "/b", Some("b")),
            ("/a/..", "/", "/", None),
            ("../x", "/x", "/", Some("x")),
        ] {
            let path = CopyPath::new(text.as_bytes());
            assert_eq!(path.to_string(), shown, "{text}");
            assert_eq!(path.needed_directory().to_string(), needed, "{text}");
            let inside = inside.map(|name| name.as_bytes().to_vec());
            assert_eq!(path.name_inside(), inside, "{text}");
        }
    }
}
