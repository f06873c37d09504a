//! What a store fixes when it is made.

use crate::Owners;
use crate::XattrNamespace;

/// How the files of a store are kept: in the header `layers/format`, for as long as the store lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreFormat {
    /// The overlay's own attributes.
    pub xattrs: XattrNamespace,
    /// Owners, modes and kinds of files.
    pub owners: Owners,
}

impl StoreFormat {
    /// The store of a user with a single id.
    pub const STORED: Self = Self {
        xattrs: XattrNamespace::User,
        owners: Owners::Stored,
    };
}

impl From<XattrNamespace> for StoreFormat {
    /// Files are what they are on disk.
    fn from(xattrs: XattrNamespace) -> Self {
        let owners = Owners::Real;
        Self { xattrs, owners }
    }
}
