//! Finding out how a stream is compressed, and undoing it.

use std::io;
use std::io::BufRead;
use std::io::Read;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

/// Memory that an xz stream may ask for; `xz -9` needs 65 MiB.
const XZ_MEMORY_BYTES: u64 = 256 << 20;

const GZIP: &[u8] = &[0x1f, 0x8b, 0x08];
const BZIP2: &[u8] = b"BZh";
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// A zstd frame without data; its first byte is 0x50 to 0x5f.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

/// Returns a reader of what `input` holds, uncompressed if it is in a known format.
///
/// # Errors
/// If the input cannot be read.
pub fn decoder<'a>(mut input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let start = peek(&mut input)?;
    if start.starts_with(GZIP) {
        return Ok(Box::new(MultiGzDecoder::new(input)));
    }
    if start.starts_with(ZSTD) || is_skippable(&start) {
        return Ok(Box::new(ZstdDecoder::with_buffer(input)?));
    }
    if start.starts_with(BZIP2) {
        return Ok(Box::new(MultiBzDecoder::new(input)));
    }
    if start.starts_with(XZ) {
        let stream = liblzma::stream::Stream::new_stream_decoder(
            XZ_MEMORY_BYTES,
            liblzma::stream::CONCATENATED,
        )?;
        return Ok(Box::new(XzDecoder::new_stream(input, stream)));
    }
    Ok(Box::new(input))
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
