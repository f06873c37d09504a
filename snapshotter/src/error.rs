//! What can go wrong with layers and trees.

use std::io;

use lamina_types::BlockingError;
use lamina_types::Cancelled;
use lamina_types::PathError;
use lamina_types::RootedPath;

use crate::tree::MAX_SYMLINKS;

/// An operation on the store, on a tree or on a layer failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The file system refused; the path is in-image where an image is concerned.
    #[error(transparent)]
    Io(#[from] PathError),
    /// Nobody waits for the result any more.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The work never ran, or panicked.
    #[error(transparent)]
    Blocking(#[from] BlockingError),
    /// A look-up ran in circles.
    #[error("{path}: more than {MAX_SYMLINKS} symbolic links")]
    TooManyLinks {
        /// The path that was asked for.
        path: RootedPath,
    },
    /// Data was wanted of something that has none.
    #[error("{path}: not a regular file")]
    NotRegular {
        /// Where it is.
        path: RootedPath,
    },
    /// A file is larger than what is read into memory.
    #[error("{path}: larger than {limit} bytes")]
    TooLarge {
        /// Where it is.
        path: RootedPath,
        /// The most that is read.
        limit: u64,
    },
    /// A file of lines has one that is longer than what is read into memory.
    #[error("{path}: a line is longer than {limit} bytes")]
    LineTooLong {
        /// Where it is.
        path: RootedPath,
        /// The longest line that is read.
        limit: u64,
    },
    /// A name is not one path component.
    #[error("invalid file name {name:?}")]
    BadName {
        /// What was given.
        name: String,
    },
    /// The layer was committed; it cannot change any more.
    #[error("{path}: the layer is sealed")]
    Sealed {
        /// Where it should have changed.
        path: RootedPath,
    },
    /// The layer depends on a feature of overlayfs that sealed layers do not have.
    #[error("{path}: unsupported overlayfs attribute {attribute:?}")]
    UnsupportedAttribute {
        /// Where it is.
        path: RootedPath,
        /// The full name of the extended attribute.
        attribute: String,
    },
    /// The store was made by something else.
    #[error("{path}: {reason}")]
    Format {
        /// The file that says so.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Device nodes are for the machine's root alone; root of a user namespace cannot make them.
    #[error(
        "{path}: an ordinary user cannot make device nodes: leave it out (.dockerignore), or build \
         as root"
    )]
    Device {
        /// Where it should have been.
        path: RootedPath,
    },
    /// The namespace of an ordinary user has no such id, and the store keeps real owners.
    #[error(
        "{path}: this user has no id that stands for owner {uid}:{gid}: get subordinate ids (package \
         uidmap, /etc/subuid, /etc/subgid), or start with another state folder where /dev/fuse can be \
         used"
    )]
    Owner {
        /// What was to be given to it.
        path: RootedPath,
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// What a mount of the layer is used for is not over.
    #[error("the mount of a layer is still in use")]
    MountInUse,
    /// A way of mounting does not work here.
    #[error("{backend} is not available: {reason}")]
    Unavailable {
        /// Which way.
        backend: &'static str,
        /// The check that failed and why.
        reason: String,
    },
    /// No way of mounting works here.
    #[error("nothing mounts layers here: {}", reasons.join("; "))]
    NoBackend {
        /// Why not, for each way.
        reasons: Vec<String>,
    },
    /// A pattern of a selection cannot be parsed.
    #[error(transparent)]
    Pattern(#[from] lamina_patterns::PatternError),
}

impl SnapshotError {
    /// Says whether the error is that something does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::NotFound)
    }

    /// Returns the kind of the I/O error behind this, if there is one.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io(error) => Some(error.source.kind()),
            Self::Device { .. } => Some(io::ErrorKind::PermissionDenied),
            Self::Owner { .. } => Some(io::ErrorKind::InvalidInput),
            _ => None,
        }
    }

    /// Returns the number of the I/O error behind this, if there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Io(error) => error.source.raw_os_error(),
            Self::Device { .. } => Some(rustix::io::Errno::PERM.raw_os_error()),
            Self::Owner { .. } => Some(rustix::io::Errno::INVAL.raw_os_error()),
            _ => None,
        }
    }
}

/// Returns an I/O error of the given number about `path`.
pub(crate) fn errno(number: rustix::io::Errno, path: impl std::fmt::Display) -> SnapshotError {
    SnapshotError::Io(PathError {
        path: path.to_string(),
        source: number.into(),
    })
}
