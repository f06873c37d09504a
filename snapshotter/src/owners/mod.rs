//! Where a store keeps what a file is: who owns it, what it may do, what kind it is.
//!
//! Root, and a user with subordinate ids, give the files of layers the owners, modes and kinds that the
//! image says ([`Owners::Real`]). A user with a single id cannot: every file is that user's, and device
//! nodes are refused. So in a store that such a user makes ([`Owners::Stored`]) the truth is in extended
//! attributes of the user's own files:
//!
//! ```text
//! in the image                     on disk
//! file, directory                  the same, with permissions that let the user work
//! symlink                          a file with the target as its data
//! device, fifo, socket             an empty file
//! owner, mode, kind, device        user.lamina.stat; missing: 0:0 and what the disk says
//! security.*, trusted.*, system.*, user.lamina.*     user.lamina.xattr.<name>
//! other user.*                     the same
//! whiteout                         the same: a user may make those
//! ```
//!
//! Who has several names has one inode, and so one truth. `docs/format.md` has the attributes to the
//! byte, `docs/design/0010-stored-owners.md` the reasons.
//!
//! This module is the only one that knows how it is done. Reading: [`Owners::stat_at`],
//! [`Owners::stat_fd`], [`Owners::read_link`] and, for attributes, [`Owners::image_name`]. Writing:
//! [`Owners::change`] for what is there, [`Owners::make_symlink`], [`Owners::make_node`] and
//! [`Owners::settle`] (after the file or directory was made) for what is new. What [`crate::fdio`]
//! says of a file is what the *disk* says; of directories and whiteouts the kind, and of all files
//! inode, links, blocks and times, may be taken from there.

mod change;
mod make;
mod names;
mod read;
mod record;

pub(crate) use make::New;
pub(crate) use names::is_of_image;

/// Says where owners, modes and kinds are kept; fixed when a store is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owners {
    /// In the files themselves.
    Real,
    /// In attributes: for a user who has a single id. Only [`crate::FuseOverlay`] mounts such layers.
    Stored,
}

impl Owners {
    /// Returns the word for it in `layers/format`; real owners have none.
    pub(crate) const fn word(self) -> Option<&'static str> {
        match self {
            Self::Real => None,
            Self::Stored => Some("stored"),
        }
    }

    /// Reads the word of `layers/format`.
    pub(crate) fn from_word(word: Option<&str>) -> Option<Self> {
        [Self::Real, Self::Stored]
            .into_iter()
            .find(|owners| owners.word() == word)
    }
}
