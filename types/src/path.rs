//! Paths inside an image.

use std::fmt;

/// Names a place inside an image: absolute, cleaned, and never a host path.
///
/// Components are any bytes but `/` and NUL. `.` and empty components are dropped and `..` removes
/// its predecessor, stopping at the root, all without looking at the tree; symlinks are the
/// business of the look-up.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootedPath(Vec<u8>);

impl RootedPath {
    /// Returns the root, `/`.
    #[must_use]
    pub fn root() -> Self {
        Self(b"/".to_vec())
    }

    /// Cleans `path`, taken as relative to the root.
    pub fn new(path: impl AsRef<[u8]>) -> Self {
        Self::root().join(path)
    }

    /// Returns this path with `path` (always taken as relative) appended and cleaned.
    #[must_use]
    pub fn join(&self, path: impl AsRef<[u8]>) -> Self {
        let path = path.as_ref();
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + path.len());
        bytes.extend_from_slice(&self.0);
        let mut joined = Self(bytes);
        for part in path.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => joined.pop(),
                name => joined.push(name),
            }
        }
        joined
    }

    fn push(&mut self, name: &[u8]) {
        if !self.is_root() {
            self.0.push(b'/');
        }
        self.0.extend_from_slice(name);
    }

    /// Removes the last component; the root has none.
    fn pop(&mut self) {
        let slash = self.0.iter().rposition(|&byte| byte == b'/');
        self.0.truncate(slash.unwrap_or(0).max(1));
    }

    /// Returns the components, outermost first; none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0
            .split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty())
    }

    /// Returns the last component; `None` for the root.
    #[must_use]
    pub fn file_name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// Returns the directory that holds this path; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let mut parent = (!self.is_root()).then(|| self.clone())?;
        parent.pop();
        Some(parent)
    }

    /// Says whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Says whether this path is `other` or lies below it.
    #[must_use]
    pub fn starts_with(&self, other: &Self) -> bool {
        self.components().count() >= other.components().count()
            && other
                .components()
                .zip(self.components())
                .all(|(a, b)| a == b)
    }

    /// Returns the path with its leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path without its leading slash; empty for the root.
    #[must_use]
    pub fn relative(&self) -> &[u8] {
        &self.0[1..]
    }
}

impl fmt::Display for RootedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for RootedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_clamped() {
        for (given, clean) in [
            ("", "/"),
            ("/", "/"),
            ("a", "/a"),
            ("/a//b/./c/", "/a/b/c"),
            ("/a/../../b", "/b"),
            ("../..", "/"),
        ] {
            assert_eq!(RootedPath::new(given).to_string(), clean, "{given}");
        }
    }

    #[test]
    fn join_takes_absolute_paths_as_relative() {
        assert_eq!(RootedPath::new("/a/b").join("/../c").to_string(), "/a/c");
    }

    #[test]
    fn parents_and_names() {
        let path = RootedPath::new("/a/b");
        assert_eq!(path.parent(), Some(RootedPath::new("/a")));
        assert_eq!(path.file_name(), Some(&b"b"[..]));
        assert_eq!(RootedPath::root().parent(), None);
        assert!(path.starts_with(&RootedPath::new("/a")));
        assert!(!RootedPath::new("/ab").starts_with(&RootedPath::new("/a")));
        assert_eq!(path.relative(), b"a/b");
    }
}
