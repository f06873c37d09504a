//! How layers are compressed, and what a stream is compressed with.
//!
//! Writing cuts the tar into blocks of fixed size that are compressed independently, so all cores
//! work and the bytes do not depend on how many there are ([`blocks`]). Reading goes by the first
//! bytes, never by a media type that a registry may have got wrong ([`decode`]), and can be done by a
//! thread of its own ([`ahead`]), or by as many as the format allows ([`pieces`], [`xz`]).

mod ahead;
mod blocks;
mod decode;
mod pieces;
#[cfg(test)]
mod tests;
mod xz;

use std::str::FromStr;

use crate::ContentError;
use crate::media_type;

pub(crate) use ahead::read_ahead;
pub(crate) use blocks::BlockCompressor;
pub use decode::decoder;
pub(crate) use decode::decoder_on_all_cores;

/// How a layer is written (rows CMP-01 and CMP-02).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// A plain tar.
    Uncompressed,
    /// Independent gzip members, with a level from 0 to 9.
    Gzip(u32),
    /// Independent zstd frames, with a level from 0 to 22.
    Zstd(i32),
}

impl Default for Compression {
    /// gzip, the one that every tool reads.
    fn default() -> Self {
        Self::Gzip(6)
    }
}

impl Compression {
    /// Returns the OCI media type of a layer written so.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Uncompressed => media_type::OCI_LAYER,
            Self::Gzip(_) => media_type::OCI_LAYER_GZIP,
            Self::Zstd(_) => media_type::OCI_LAYER_ZSTD,
        }
    }

    /// Says whether a layer of that media type, in either spelling, has this compression.
    #[must_use]
    pub fn matches(self, media_type: &str) -> bool {
        media_type::layer_to_oci(media_type) == self.media_type()
    }

    /// Returns the same format at another level, which is brought into the format's range.
    #[must_use]
    pub fn with_level(self, level: i32) -> Self {
        match self {
            Self::Uncompressed => Self::Uncompressed,
            Self::Gzip(_) => Self::Gzip(level.clamp(0, 9).unsigned_abs()),
            Self::Zstd(_) => Self::Zstd(level.clamp(0, 22)),
        }
    }
}

impl FromStr for Compression {
    type Err = ContentError;

    /// Takes BuildKit's names; the level is the format's default.
    fn from_str(text: &str) -> Result<Self, ContentError> {
        match text {
            "uncompressed" => Ok(Self::Uncompressed),
            "gzip" => Ok(Self::Gzip(6)),
            "zstd" => Ok(Self::Zstd(3)),
            _ => Err(ContentError::UnknownCompression {
                text: text.to_owned(),
            }),
        }
    }
}
