//! What a File op asks for, as the client wrote it.
//!
//! Paths are raw text: whether they end in `/` or `/.` matters, and cleaning them is the business
//! of the operations. A time of `None` leaves times as they come; zero is 1970 (row FIL-04).

use lamina_snapshotter::Tree;

/// One action of a File op.
#[derive(Clone, Debug)]
pub enum Action {
    /// Copies from the source tree (rows FIL-06 to FIL-19).
    Copy(CopyAction),
    /// Writes a file (row FIL-20).
    MkFile(MkFileAction),
    /// Makes a directory (row FIL-21).
    MkDir(MkDirAction),
    /// Removes files and directories (row FIL-22).
    Rm(RmAction),
    /// Makes a symlink (row FIL-23).
    Symlink(SymlinkAction),
}

/// Copies files and directories from the source tree.
#[derive(Clone, Debug, Default)]
pub struct CopyAction {
    /// What is copied; a trailing `/` or `/.` matters.
    pub source: Vec<u8>,
    /// Where to; a trailing `/` or an existing directory means into it.
    pub destination: Vec<u8>,
    /// New owner of all that is copied or made; without it copies keep theirs.
    pub owner: Option<Owner>,
    /// New permission and set-id bits of all but symlinks.
    pub mode: CopyMode,
    /// New modification time of all that is copied or made, in nanoseconds since 1970.
    pub timestamp: Option<i64>,
    /// A symlink at the source itself is followed (not those inside trees).
    pub follow_symlink: bool,
    /// Of a source directory the contents are copied instead of itself.
    pub directory_contents: bool,
    /// A source that is a tar archive, in any compression, is unpacked instead.
    pub unpack_archives: bool,
    /// Missing parents of the destination are made.
    pub create_parents: bool,
    /// The source may be a pattern of Go's `filepath.Match`.
    pub allow_wildcard: bool,
    /// A pattern that matches nothing is no error.
    pub allow_empty_wildcard: bool,
    /// An entry at the destination that is of another type than what comes is removed first.
    pub replace_existing: bool,
    /// Ignore-file patterns, relative to the source; only what matches is copied. Empty: all.
    pub include: Vec<String>,
    /// Ignore-file patterns of what is left out, even if included.
    pub exclude: Vec<String>,
}

/// What becomes of permission bits in a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CopyMode {
    /// They stay (row FIL-08).
    #[default]
    Keep,
    /// These 12 bits (row FIL-08).
    Bits(u32),
    /// A text as chmod(1) takes it, like `u=rwX,go=rX` (row FIL-09).
    Symbolic(String),
}

/// Writes a regular file; an existing one is emptied first and keeps its mode.
#[derive(Clone, Debug, Default)]
pub struct MkFileAction {
    /// Where; its parent must exist. Symlinks are followed.
    pub path: Vec<u8>,
    /// Permission bits of a new file; of these only the lower nine count.
    pub mode: u32,
    /// What it holds.
    pub data: Vec<u8>,
    /// Its owner; root if not given.
    pub owner: Option<Owner>,
    /// Its modification time in nanoseconds since 1970.
    pub timestamp: Option<i64>,
}

/// Makes a directory; one that exists is left as it is.
#[derive(Clone, Debug, Default)]
pub struct MkDirAction {
    /// Where.
    pub path: Vec<u8>,
    /// Permission bits; of these only the lower nine count.
    pub mode: u32,
    /// Missing parents are made, with the same mode, owner and time.
    pub make_parents: bool,
    /// Owner of what is made; root if not given.
    pub owner: Option<Owner>,
    /// Modification time of what is made, in nanoseconds since 1970.
    pub timestamp: Option<i64>,
}

/// Removes a file, or a directory with all below it.
#[derive(Clone, Debug, Default)]
pub struct RmAction {
    /// What; a symlink at its end is removed, not followed.
    pub path: Vec<u8>,
    /// It need not exist.
    pub allow_not_found: bool,
    /// The path may be a pattern of Go's `filepath.Match`; that nothing matches is no error.
    pub allow_wildcard: bool,
}

/// Makes a symlink.
#[derive(Clone, Debug, Default)]
pub struct SymlinkAction {
    /// The text of the link.
    pub target: Vec<u8>,
    /// Where the link is made; must not exist.
    pub path: Vec<u8>,
    /// Its owner; root if not given.
    pub owner: Option<Owner>,
    /// Its modification time in nanoseconds since 1970.
    pub timestamp: Option<i64>,
}

/// Who owns what an action makes (row FIL-05).
#[derive(Clone, Debug, Default)]
pub struct Owner {
    /// The user; also sets the group unless `group` does. Without it the user is 0.
    pub user: Option<UserRef>,
    /// The group.
    pub group: Option<UserRef>,
}

/// A user or a group.
#[derive(Clone)]
pub enum UserRef {
    /// By number.
    Id(u32),
    /// By name, looked up in a tree's `/etc/passwd` (users) or `/etc/group` (groups).
    Name {
        /// The name.
        name: String,
        /// The tree that has the files.
        tree: Tree,
    },
}

impl std::fmt::Debug for UserRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(f, "Id({id})"),
            Self::Name { name, .. } => write!(f, "Name({name:?})"),
        }
    }
}
