//! Finding out how a stream is compressed, and undoing it.
//!
//! | format | what can be decoded at once | written by |
//! |---|---|---|
//! | zstd | frames ([`pieces`](super::pieces)) | pzstd, zstd:chunked, this crate; `zstd -T` makes one frame |
//! | bzip2 | streams ([`pieces`](super::pieces)) | pbzip2 |
//! | xz | blocks that say their size, by liblzma | `xz -T` |
//! | gzip | nothing | |
//!
//! The blocks inside a bzip2 stream begin at any bit, and libbz2 takes none of them alone; where a gzip
//! member ends is known only once it is decoded. Those are decoded by one thread.

use std::io;
use std::io::BufRead;
use std::io::Read;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;
use zstd::zstd_safe;

use super::pieces::Format;
use super::pieces::Input;
use super::pieces::Output;
use super::pieces::Pieces;
use super::xz::XzStreams;

const GZIP: &[u8] = &[0x1f, 0x8b, 0x08];
const BZIP2: &[u8] = b"BZh";
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// A zstd frame without data; its first byte is 0x50 to 0x5f.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

/// The first block of a bzip2 stream, behind `BZh` and a digit.
const BZIP2_BLOCK: &[u8] = &[0x31, 0x41, 0x59, 0x26, 0x53, 0x59];

/// What a stream is compressed with.
enum Compressed {
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

/// Returns a reader of what `input` holds, uncompressed if it is in a known format.
///
/// # Errors
/// If the input cannot be read.
pub fn decoder<'a>(mut input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let start = peek(&mut input)?;
    match Compressed::by_start(&start) {
        None => Ok(Box::new(input)),
        Some(Compressed::Gzip) => Ok(Box::new(MultiGzDecoder::new(input))),
        Some(Compressed::Bzip2) => decode_bzip2(Box::new(input)),
        Some(Compressed::Xz) => Ok(Box::new(XzStreams::new(input, 1)?)),
        Some(Compressed::Zstd) => decode_zstd(Box::new(input)),
    }
}

/// As [`decoder`], with all cores where the format allows; for streams that are read to their end.
///
/// # Errors
/// If the input cannot be read.
pub(crate) fn decoder_on_all_cores<'a>(
    mut input: impl BufRead + 'a,
) -> io::Result<Box<dyn Read + 'a>> {
    let start = peek(&mut input)?;
    let format = match Compressed::by_start(&start) {
        Some(Compressed::Zstd) => Format {
            whole: whole_frames,
            decode: decode_zstd,
        },
        Some(Compressed::Bzip2) => Format {
            whole: whole_streams,
            decode: decode_bzip2,
        },
        Some(Compressed::Xz) => {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            return Ok(Box::new(XzStreams::new(input, threads)?));
        }
        Some(Compressed::Gzip) | None => return decoder(input),
    };
    Ok(Box::new(Pieces::new(Box::new(input), format)))
}

impl Compressed {
    fn by_start(start: &[u8]) -> Option<Self> {
        if start.starts_with(GZIP) {
            Some(Self::Gzip)
        } else if start.starts_with(ZSTD) || is_skippable(start) {
            Some(Self::Zstd)
        } else if start.starts_with(BZIP2) {
            Some(Self::Bzip2)
        } else {
            start.starts_with(XZ).then_some(Self::Xz)
        }
    }
}

fn decode_zstd(input: Input<'_>) -> io::Result<Output<'_>> {
    Ok(Box::new(ZstdDecoder::with_buffer(input)?))
}

fn decode_bzip2(input: Input<'_>) -> io::Result<Output<'_>> {
    Ok(Box::new(MultiBzDecoder::new(input)))
}

/// Returns how long the frames are that `window` begins with and has all of.
fn whole_frames(window: &[u8]) -> usize {
    let mut end = 0;
    while let Ok(length @ 1..) = zstd_safe::find_frame_compressed_size(&window[end..]) {
        end += length;
    }
    end
}

/// Returns where the last stream in `window` begins. By chance ten such bytes come up in the middle of a
/// stream once in more data than there is.
fn whole_streams(window: &[u8]) -> usize {
    const LENGTH: usize = BZIP2.len() + 1 + BZIP2_BLOCK.len();
    let begins = |at: &[u8]| {
        at.starts_with(BZIP2) && at[BZIP2.len()].is_ascii_digit() && at.ends_with(BZIP2_BLOCK)
    };
    window.windows(LENGTH).rposition(begins).unwrap_or(0)
}

fn is_skippable(start: &[u8]) -> bool {
    start.len() > 4 && start[0] & 0xf0 == 0x50 && &start[1..4] == ZSTD_SKIPPABLE
}

/// Returns the first bytes of the input without consuming them: fewer than six only if the
/// buffer's first read gave so few.
fn peek(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let buffer = input.fill_buf()?;
    Ok(buffer[..buffer.len().min(6)].to_vec())
}
