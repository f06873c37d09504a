//! Paths inside images, as text: cleaned without looking at any tree.
//!
//! Linux paths keep their double and trailing slashes where the user's config shows them;
//! everything that goes into LLB is cleaned. For Windows images backslashes count as slashes and a
//! leading `C:` is dropped.

pub use lamina_patterns::clean;

/// Says why a path cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImagePathError {
    /// `C:` alone.
    #[error("removing drive letter: No relative path specified in {}", crate::quote::quoted(.path))]
    DriveOnly {
        /// What was given.
        path: String,
    },
    /// `\\host\share`.
    #[error("removing drive letter: UNC paths are not supported")]
    Unc,
    /// `D:\x`.
    #[error("removing drive letter: The specified path is not on the system drive (C:)")]
    OtherDrive,
}

/// The conventions of an image's operating system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "named as the systems")]
pub enum System {
    Unix,
    Windows,
}

impl System {
    /// Returns the conventions of the operating system called `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        if name == "windows" {
            Self::Windows
        } else {
            Self::Unix
        }
    }

    /// Returns the search path of a new image.
    #[must_use]
    pub fn default_path(self) -> Option<&'static str> {
        match self {
            Self::Unix => Some("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            Self::Windows => None,
        }
    }

    /// Returns the shell of a new image.
    #[must_use]
    pub fn default_shell(self) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Unix => &["/bin/sh", "-c"],
            Self::Windows => &["cmd", "/S", "/C"],
        };
        words.iter().map(ToString::to_string).collect()
    }

    /// Returns `path` with the system's own separator.
    #[must_use]
    pub fn native(self, path: &str) -> String {
        match self {
            Self::Unix => path.to_owned(),
            Self::Windows => path.replace('/', "\\"),
        }
    }

    /// Says whether `path` starts at the root.
    #[must_use]
    pub fn is_absolute(self, path: &str) -> bool {
        self.without_drive(path)
            .is_ok_and(|path| path.starts_with('/'))
    }

    /// Returns `path` with slashes and without its drive.
    ///
    /// # Errors
    /// On Windows, for other drives and network paths.
    pub fn without_drive(self, path: &str) -> Result<String, ImagePathError> {
        if self == Self::Unix {
            return Ok(path.to_owned());
        }
        let path = path.replace('\\', "/");
        if path.len() == 2 && path.ends_with(':') {
            return Err(ImagePathError::DriveOnly { path });
        }
        if path.starts_with("//") {
            return Err(ImagePathError::Unc);
        }
        let rest = match path.split_once(':') {
            Some((drive, rest)) if drive.eq_ignore_ascii_case("c") => rest,
            Some(_) => return Err(ImagePathError::OtherDrive),
            None => &path,
        };
        let cleaned = clean(rest);
        let keep_slash = rest.ends_with('/') && cleaned.len() > 1;
        Ok(if keep_slash {
            format!("{cleaned}/")
        } else {
            cleaned
        })
    }

    /// Returns `path` as an absolute one, relative ones taken from `parent`; an empty one is
    /// `parent`. An absolute path stays exactly as it is written.
    ///
    /// # Errors
    /// As [`Self::without_drive`].
    pub fn absolute(self, parent: &str, path: &str) -> Result<String, ImagePathError> {
        let parent = self.without_drive(if parent.is_empty() { "/" } else { parent })?;
        let parent = if parent.starts_with('/') {
            parent
        } else {
            join("/", &parent)
        };
        let path = if path.is_empty() {
            parent.clone()
        } else {
            self.without_drive(path)?
        };
        Ok(if path.starts_with('/') {
            path
        } else {
            join(&parent, &path)
        })
    }

    /// As [`Self::absolute`], but a slash or `/.` at the end stays.
    ///
    /// # Errors
    /// As [`Self::without_drive`].
    pub fn absolute_keeping_slash(
        self,
        parent: &str,
        path: &str,
    ) -> Result<String, ImagePathError> {
        let absolute = self.absolute(parent, path)?;
        let written = if self == Self::Windows {
            path.replace('\\', "/")
        } else {
            path.to_owned()
        };
        Ok(with_ending_of(&written, absolute))
    }
}

/// Joins two paths and cleans the result.
#[must_use]
pub fn join(parent: &str, path: &str) -> String {
    match (parent.is_empty(), path.is_empty()) {
        (true, true) => String::new(),
        (true, false) => clean(path),
        (false, true) => clean(parent),
        (false, false) => clean(&format!("{parent}/{path}")),
    }
}

/// Returns the last component, as in `basename`.
#[must_use]
pub fn base_name(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" if path.is_empty() => ".",
        "" => "/",
        path => path.rsplit('/').next().unwrap_or(path),
    }
}

/// Cleans a destination but keeps what its ending says: `/` for "into", `/.` for "into as it is".
#[must_use]
pub fn clean_destination(path: &str) -> String {
    with_ending_of(path, clean(path))
}

fn with_ending_of(written: &str, mut path: String) -> String {
    if written.ends_with('/') {
        if !path.ends_with('/') {
            path.push('/');
        }
    } else if written.ends_with("/.") && !path.ends_with("/.") {
        if path != "/" {
            path.push('/');
        }
        path.push('.');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_of_destinations() {
        for (dir, path, absolute) in [
            ("/w", "a", "/w/a"),
            ("/w", "a/", "/w/a/"),
            ("/w", "./", "/w/"),
            ("/w", "a/.", "/w/a/."),
            ("/w", "/a//b/", "/a//b/"),
        ] {
            let result = System::Unix.absolute_keeping_slash(dir, path);
            assert_eq!(result.as_deref(), Ok(absolute), "{path}");
        }
    }

    #[test]
    fn windows_paths() {
        let system = System::Windows;
        assert_eq!(system.absolute("/", "C:\\a\\b").as_deref(), Ok("/a/b"));
        assert_eq!(
            system.absolute("/", "D:\\a"),
            Err(ImagePathError::OtherDrive)
        );
        assert_eq!(system.native("/foo"), "\\foo");
    }
}
