//! xz: streams one behind the other, each of blocks.
//!
//! liblzma decodes blocks that say how long they are in threads of its own, and any others one after the
//! other. It takes one stream at a time that way, so that the next one is looked for here.

use std::io;
use std::io::BufRead;
use std::io::Read;

use liblzma::bufread::XzDecoder;
use liblzma::stream::MtStreamBuilder;
use liblzma::stream::Stream;

/// Memory that a stream may ask for; `xz -9` needs 65 MiB. With more threads it is for all of them: those
/// that would need more are not started.
const MEMORY_BYTES: u64 = 256 << 20;

/// Streams are followed by zeros in groups of four.
const PADDING: usize = 4;

/// Reads what all streams of `R` hold.
pub(super) struct XzStreams<R> {
    /// `None` only while one stream gives way to the next.
    stream: Option<XzDecoder<R>>,
    threads: u32,
}

impl<R: BufRead> XzStreams<R> {
    pub(super) fn new(input: R, threads: usize) -> io::Result<Self> {
        let threads = u32::try_from(threads).unwrap_or(1);
        Ok(Self {
            stream: Some(XzDecoder::new_stream(input, decoder(threads)?)),
            threads,
        })
    }

    /// Goes on to the next stream, if there is one.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(ended) = self.stream.take() else {
            return Ok(false);
        };
        let mut input = ended.into_inner();
        if !skip_padding(&mut input)? {
            return Ok(false);
        }
        self.stream = Some(XzDecoder::new_stream(input, decoder(self.threads)?));
        Ok(true)
    }
}

impl<R: BufRead> Read for XzStreams<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(stream) = &mut self.stream {
            let count = stream.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            self.advance()?;
        }
        Ok(0)
    }
}

fn decoder(threads: u32) -> io::Result<Stream> {
    let stream = match threads {
        0 | 1 => Stream::new_stream_decoder(MEMORY_BYTES, 0),
        more => MtStreamBuilder::new()
            .threads(more)
            .memlimit_threading(MEMORY_BYTES)
            .memlimit_stop(MEMORY_BYTES)
            .decoder(),
    };
    Ok(stream?)
}

/// Skips the zeros behind a stream; says whether anything follows.
fn skip_padding(input: &mut impl BufRead) -> io::Result<bool> {
    let mut skipped = 0;
    loop {
        let buffer = input.fill_buf()?;
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        let (more, ended) = (zeros < buffer.len(), buffer.is_empty());
        input.consume(zeros);
        skipped += zeros;
        if more || ended {
            return match skipped % PADDING {
                0 => Ok(more),
                _ => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "xz padding is not a multiple of four bytes",
                )),
            };
        }
    }
}
